// All kernels, for the one switch over opcodes.
export * from './broadcast';
export * from './cast';
export * from './clock';
export * from './cross_entropy';
export * from './distill';
export * from './elementwise';
export * from './embedding';
export * from './missing';
export * from './reduce';
export * from './router';
export * from './routing';
export * from './topk_softmax';
