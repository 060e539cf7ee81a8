// All kernels, for the one switch over opcodes.
export * from './elementwise';
export * from './missing';
export * from './norm';
export * from './rope';
export * from './soft_cap';
export * from './softmax';
export * from './swiglu';
