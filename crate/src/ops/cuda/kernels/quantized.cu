// Linear layers whose weights are stored as low-bit weights: numbers to values, products with a few tokens, rounding.
// The numbers of a row are `row_bytes` bytes; value = number * scale. Sums are float32.
#include "element.cuh"

// How numbers are stored: four bits + 8 (eight in a word, the first lowest), a byte + 128, a byte with sign, an 8-bit float.
enum Kind { INT4 = 0, INT8_PACKED = 1, INT8 = 2, F8 = 3 };

struct LowBit {
    const uint8_t *numbers;
    const float *scales;
    int outputs, inputs, row_bytes;
    // Scales of a row, 0 if all rows share one; and weights that share one.
    int groups, group;
    int kind;
};

// e4m3: the exponent's bias is 7, float32's 127. Subnormals are correct as well.
__device__ __forceinline__ float f8_value(uint32_t byte) {
    return __uint_as_float((byte & 0x80) << 24 | (byte & 0x7f) << 20) * 0x1p120f;
}

__device__ __forceinline__ float number(const LowBit &w, const uint8_t *row, int column) {
    if (w.kind == INT4) return (float)((row[column >> 1] >> ((column & 1) * 4) & 15) - 8);
    const int byte = row[column];
    if (w.kind == INT8_PACKED) return (float)(byte - 128);
    return w.kind == INT8 ? (float)(int8_t)byte : f8_value(byte);
}

// Eight numbers from `column` on, which eight divides; fast if rows start at words of their own.
__device__ __forceinline__ void numbers8(float (&v)[8], const LowBit &w, const uint8_t *row, int column, bool fast) {
    if (!fast || column + 8 > w.inputs) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = column + i < w.inputs ? number(w, row, column + i) : 0.0f;
    } else if (w.kind == INT4) {
        const uint32_t word = *reinterpret_cast<const uint32_t *>(row + column / 2);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = (float)((int)(word >> (4 * i) & 15) - 8);
    } else {
        const uint32_t *words = reinterpret_cast<const uint32_t *>(row + column);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int byte = words[i / 4] >> (8 * (i & 3)) & 255;
            v[i] = w.kind == INT8_PACKED ? (float)(byte - 128) : w.kind == INT8 ? (float)(int8_t)byte : f8_value(byte);
        }
    }
}

__device__ __forceinline__ void values8(float (&v)[8], const LowBit &w, long row, int column, bool fast) {
    numbers8(v, w, w.numbers + row * w.row_bytes, column, fast);
    const float *scales = w.scales + row * w.groups;
    if ((w.group & 7) == 0) {
        const float scale = scales[w.groups > 1 ? column / w.group : 0];
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] *= scale;
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (column + i < w.inputs) v[i] *= scales[w.groups > 1 ? (column + i) / w.group : 0];
    }
}

__device__ __forceinline__ bool words(const LowBit &w) {
    return (w.row_bytes & 3) == 0 && (reinterpret_cast<uintptr_t>(w.numbers) & 3) == 0;
}

// y [outputs, inputs]. One block a row.
template <typename T> __device__ void dequantize(T *y, LowBit w) {
    const long row = blockIdx.x;
    const bool fast = words(w), whole = aligned(y, w.inputs);
    for (int c = threadIdx.x * 8; c < w.inputs; c += blockDim.x * 8) {
        float v[8];
        values8(v, w, row, c, fast);
        store8(y + row * w.inputs + c, v, whole, w.inputs - c);
    }
}

// y [tokens, outputs] = x [tokens, inputs] W^T, for up to eight tokens. One warp a row of W, which is read once.
template <typename T> __device__ void few_tokens(T *y, const T *x, LowBit w, int tokens) {
    const int row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (row >= w.outputs) return;
    const bool fast = words(w), whole = aligned(x, w.inputs);
    float sums[8] = {};
    for (int c = lane * 8; c < w.inputs; c += 256) {
        float v[8];
        values8(v, w, row, c, fast);
#pragma unroll
        for (int t = 0; t < 8; t++) {
            if (t < tokens) {
                float a[8];
                load8(a, x + (long)t * w.inputs + c, whole, w.inputs - c);
#pragma unroll
                for (int i = 0; i < 8; i++) sums[t] += v[i] * a[i];
            }
        }
    }
#pragma unroll
    for (int t = 0; t < 8; t++) {
        if (t < tokens) {
            const float sum = warp_sum(sums[t]);
            if (lane == 0) y[(long)t * w.outputs + row] = narrow<T>(sum);
        }
    }
}

// ---- Rounding: y = the number nearest to x / scale, times scale

// Which numbers: four bits, eight bits, 8-bit floats.
enum Numbers { FOUR = 0, EIGHT = 1, FLOAT8 = 2 };

__device__ __forceinline__ float half_range(int numbers) {
    return numbers == FOUR ? 7.5f : numbers == EIGHT ? 127.5f : 448.0f;
}

__device__ __forceinline__ float nearest(float x, int numbers) {
    if (numbers == FOUR) return rintf(fminf(fmaxf(x, -8.0f), 7.0f));
    if (numbers == EIGHT) return rintf(fminf(fmaxf(x, -128.0f), 127.0f));
    x = fminf(fmaxf(x, -448.0f), 448.0f);
    const uint32_t bits = __float_as_uint(x);
    const float normal = __uint_as_float((bits + 0x7ffff + (bits >> 20 & 1)) & ~0xfffffu);
    return fabsf(x) < 0.015625f ? rintf(x * 512.0f) / 512.0f : normal;
}

__device__ __forceinline__ float nonzero(float scale) { return scale == 0.0f ? 1.1920929e-7f : scale; }

// The scale of least squared error among some, as `fit.rs` looks for it. One warp, whose lanes share the group.
template <typename T> __device__ float fitted_scale(const T *x, long n, float largest, int tried, int lane) {
    bool found = false;
    for (long i = lane; i < n; i += 32) found |= wide(x[i]) == largest;
    const float whole = __any_sync(0xffffffffu, found) ? largest / -8.0f : largest / 8.0f;
    float best = nonzero(wide(narrow<T>(whole))), least = INFINITY;
    for (int smaller = 0; smaller < tried; smaller++) {
        const float scale = nonzero(wide(narrow<T>(whole * ((float)(33 - smaller) / 32.0f)))), inverse = 1.0f / scale;
        float error = 0.0f;
        for (long i = lane; i < n; i += 32) {
            const float v = wide(x[i]), missed = nearest(v * inverse, FOUR) * scale - v;
            error += missed * missed;
        }
        error = warp_sum(error);
        if (error < least) best = scale, least = error;
    }
    return best;
}

// Every `group` neighbors with a scale of their own; weights' scales are as they are stored and, of four bits, the best of
// `tried`. One warp a group.
template <typename T> __device__ void rounded(T *y, const T *x, long groups, long group, int numbers, int tried) {
    const int lane = threadIdx.x & 31;
    const long warps = (long)gridDim.x * (blockDim.x >> 5);
    for (long g = (long)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5); g < groups; g += warps) {
        const T *from = x + g * group;
        float largest = 0.0f;
        for (long i = lane; i < group; i += 32) largest = fmaxf(largest, fabsf(wide(from[i])));
        largest = warp_max(largest);
        float scale = nonzero(largest / half_range(numbers));
        if (tried) scale = nonzero(wide(narrow<T>(scale)));
        if (tried && numbers == FOUR) scale = fitted_scale(from, group, largest, tried, lane);
        for (long i = lane; i < group; i += 32) y[g * group + i] = narrow<T>(nearest(wide(from[i]) / scale, numbers) * scale);
    }
}

#define KERNELS(T, S)                                                                                                           \
    extern "C" __global__ void quantized_dequantize_##S(T *y, LowBit w) { dequantize(y, w); }                                  \
    extern "C" __global__ void quantized_few_tokens_##S(T *y, const T *x, LowBit w, int tokens) { few_tokens(y, x, w, tokens); } \
    extern "C" __global__ void quantized_rounded_##S(T *y, const T *x, long groups, long group, int numbers, int tried) {       \
        rounded(y, x, groups, group, numbers, tried);                                                                           \
    }

KERNELS(float, f32)
KERNELS(bf16, bf16)
KERNELS(f16, f16)
