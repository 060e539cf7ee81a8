// All kernels, for the one switch over opcodes.
export { attention } from './attention';
export * from './attention_backward';
export * from './attention_decode';
export * from './elementwise';
export * from './missing';
export * from './norm';
export * from './rope';
export * from './soft_cap';
export * from './softmax';
export * from './swiglu';
