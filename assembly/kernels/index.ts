// All kernels, for the one switch over opcodes.
export * from './bank';
export * from './bank_optimizer';
export * from './elementwise';
export * from './missing';
export * from './optimizer';
