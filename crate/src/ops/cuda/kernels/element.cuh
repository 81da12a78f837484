// Element types, and how eight of them are read and written at once. Arithmetic is float32.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float wide(f16 x) { return __half2float(x); }

template <typename T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 narrow<f16>(float x) { return __float2half_rn(x); }

template <typename T> struct __align__(16) Vector { T at[16 / sizeof(T)]; };

// True if rows of `width` elements from here can be read eight elements at a time, in steps of sixteen bytes.
template <typename T> __device__ __forceinline__ bool aligned(const T *p, long width) {
    return (reinterpret_cast<uintptr_t>(p) & 15) == 0 && (width & 7) == 0;
}

// Reads eight elements, or the first `count` and zeros.
template <typename T> __device__ __forceinline__ void load8(float (&x)[8], const T *p, bool fast, long count) {
    constexpr int n = 16 / sizeof(T);
    if (fast) {
#pragma unroll
        for (int v = 0; v < 8 / n; v++) {
            Vector<T> chunk = reinterpret_cast<const Vector<T> *>(p)[v];
#pragma unroll
            for (int i = 0; i < n; i++) x[v * n + i] = wide(chunk.at[i]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = i < count ? wide(p[i]) : 0.0f;
    }
}

template <typename T> __device__ __forceinline__ void store8(T *p, const float (&x)[8], bool fast, long count) {
    constexpr int n = 16 / sizeof(T);
    if (fast) {
#pragma unroll
        for (int v = 0; v < 8 / n; v++) {
            Vector<T> chunk;
#pragma unroll
            for (int i = 0; i < n; i++) chunk.at[i] = narrow<T>(x[v * n + i]);
            reinterpret_cast<Vector<T> *>(p)[v] = chunk;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < count) p[i] = narrow<T>(x[i]);
    }
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane >>= 1) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

// Sums over the block, which has whole warps; every thread gets the result. Called by all threads together.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float partial[32];
    x = warp_sum(x);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = x;
    __syncthreads();
    return warp_sum((threadIdx.x & 31) < (blockDim.x >> 5) ? partial[threadIdx.x & 31] : 0.0f);
}

__device__ __forceinline__ float block_max(float x) {
    __shared__ float partial[32];
    x = warp_max(x);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = x;
    __syncthreads();
    return warp_max((threadIdx.x & 31) < (blockDim.x >> 5) ? partial[threadIdx.x & 31] : -INFINITY);
}
