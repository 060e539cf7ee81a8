// Products by NVIDIA's library, where it is installed and asked for: SWEETSPOT_CUDA_GEMM=cublaslt. It is opened at run
// time (SWEETSPOT_CUBLASLT may name the file) and never needed: what it lacks or refuses goes to our kernels.
//
// It is a setting and no choice by speed, because bits must not depend on timings. With it they depend on the version
// of the library as well, and a product behind a failed row is computed all the same.
#pragma once

namespace sweetspot::cuda {

struct Launch;
struct Product;

// Enqueues a product of bf16 factors, or returns false with nothing enqueued.
bool multiply_cublaslt(Launch& l, const Product& p);

}  // namespace sweetspot::cuda
