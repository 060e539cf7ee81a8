// All kernels, for the one switch over opcodes.
export * from './attention_backward';
export * from './attention_decode';
export * from './csr_gemm';
export { attention } from './attention';
export * from './elementwise';
export * from './gemm';
export * from './grouped_gemm';
export * from './kmeans';
export * from './missing';
export * from './norm';
export * from './roof';
export * from './rope';
export * from './soft_cap';
export * from './softmax';
export * from './swiglu';
