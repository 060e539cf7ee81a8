// All kernels, for the one switch over opcodes.
export * from './csr_gemm';
export * from './elementwise';
export * from './gemm';
export * from './grouped_gemm';
export * from './kmeans';
export * from './missing';
export * from './roof';
