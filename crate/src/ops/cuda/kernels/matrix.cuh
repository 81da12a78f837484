// Tiles in shared memory and products of them on tensor cores (mma.sync, sm_80 and later), of bf16 and f16.
#pragma once
#include "element.cuh"

__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void copy16(void *to, const void *from, bool there) {
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void copy4(void *to, const void *from, bool there) {
    const int bytes = there ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int N> __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N)); }

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

// c += a b for a 16x16, b 16x8
template <typename T> __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <> __device__ __forceinline__ void mma<bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void mma<f16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t pair(float low, float high, bf16) {
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&two);
}
__device__ __forceinline__ uint32_t pair(float low, float high, f16) {
    __half2 two = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&two);
}

// A tile of rows of D elements in shared memory; sixteen-byte chunks are swizzled so that ldmatrix meets all banks.
template <typename T, int D> struct Tile {
    static __device__ __forceinline__ uint32_t at(const T *tile, int row, int chunk) {
        return shared_address(tile) + (row * (D / 8) + (chunk ^ (row & 7))) * 16;
    }
    // Rows beyond `count` become zeros.
    template <int ROWS, int THREADS>
    static __device__ __forceinline__ void fetch(T *tile, const T *from, long stride, int count) {
#pragma unroll
        for (int i = threadIdx.x; i < ROWS * (D / 8); i += THREADS) {
            const int row = i / (D / 8), chunk = i % (D / 8);
            T *to = tile + (row * (D / 8) + (chunk ^ (row & 7))) * 8;
            copy16(to, from + (row < count ? row * stride : 0) + chunk * 8, row < count);
        }
    }
    // The 16x16 left operand at (row, 16 k)
    static __device__ __forceinline__ void left(uint32_t (&a)[4], const T *tile, int row, int k) {
        const int lane = threadIdx.x & 31;
        load_matrices(a, at(tile, row + (lane & 15), 2 * k + (lane >> 4)));
    }
    // The 16x16 left operand whose rows are the columns m..m+15, with the rows 16 k.. as the summed side
    static __device__ __forceinline__ void left_transposed(uint32_t (&a)[4], const T *tile, int k, int m) {
        const int lane = threadIdx.x & 31;
        load_transposed(a, at(tile, 16 * k + (lane & 7) + (lane >> 4) * 8, m / 8 + ((lane >> 3) & 1)));
    }
    // Right operands for the rows n..n+15 as columns, at 16 k: b[0..1] for the first eight, b[2..3] for the others
    static __device__ __forceinline__ void right(uint32_t (&b)[4], const T *tile, int n, int k) {
        const int lane = threadIdx.x & 31;
        load_matrices(b, at(tile, n + (lane & 7) + (lane >> 4) * 8, 2 * k + ((lane >> 3) & 1)));
    }
    // Right operands for the columns n..n+15, with the rows 16 k.. as the summed side
    static __device__ __forceinline__ void right_transposed(uint32_t (&b)[4], const T *tile, int k, int n) {
        const int lane = threadIdx.x & 31;
        load_transposed(b, at(tile, 16 * k + (lane & 15), n / 8 + (lane >> 4)));
    }
};
