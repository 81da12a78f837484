// What linear attention needs: inverses of small triangular matrices, and convolutions over the last tokens.
#include "element.cuh"

// y = (I + L)^-1 for the part L of each matrix a [matrices, size, size] below its diagonal. A block a matrix, a thread a column:
// row i of a column is e_i - sum over the rows before of L_ij y_j.
template <typename T>
__device__ void inverse(T *y, const T *a, int size) {
    extern __shared__ float matrix[];
    float *const own = matrix + size * size;
    y += (long)blockIdx.x * size * size, a += (long)blockIdx.x * size * size;
    for (int i = threadIdx.x; i < size * size; i += blockDim.x) matrix[i] = wide(a[i]);
    __syncthreads();
    const int column = threadIdx.x;
    if (column >= size) return;
    for (int row = 0; row < size; row++) {
        float sum = row == column ? 1.0f : 0.0f;
        for (int k = column; k < row; k++) sum -= matrix[row * size + k] * own[k * size + column];
        own[row * size + column] = sum;
        y[row * size + column] = narrow<T>(sum);
    }
}

// -x below the diagonal of each matrix, 0 elsewhere.
template <typename T>
__device__ void negated_below(T *y, const T *x, long n, int size) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x)
        y[i] = narrow<T>(i % size < i / size % size ? -wide(x[i]) : 0.0f);
}

// y [batch, tokens, channels] = sum over j of w [channels, taps] x [batch, taps - 1 + tokens, channels] at token + j.
template <typename T>
__device__ void convolution(T *y, const T *x, const T *w, long n, int tokens, int channels, int taps) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        const int channel = i % channels;
        const long token = i / channels, row = token + token / tokens * (taps - 1);
        float sum = 0.0f;
        for (int j = 0; j < taps; j++) sum += wide(w[channel * taps + j]) * wide(x[(row + j) * channels + channel]);
        y[i] = narrow<T>(sum);
    }
}

// The gradient of x, of which `n` are the elements.
template <typename T>
__device__ void convolution_backward(T *dx, const T *g, const T *w, long n, int tokens, int channels, int taps) {
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x) {
        const int channel = i % channels, rows = tokens + taps - 1;
        const long batch = i / channels / rows;
        const int row = i / channels % rows;
        float sum = 0.0f;
        for (int j = 0; j < taps; j++) {
            const int token = row - j;
            if (token >= 0 && token < tokens)
                sum += wide(w[channel * taps + j]) * wide(g[(batch * tokens + token) * channels + channel]);
        }
        dx[i] = narrow<T>(sum);
    }
}

// Parts of the weight's gradient, [gridDim.y, channels * taps] for at most eight taps. Blocks of 32 x 8 threads: 32 channels.
template <typename T>
__device__ void convolution_weights(float *partial, const T *x, const T *g, long rows, int tokens, int channels, int taps) {
    __shared__ float sums[8][8][32];
    const int channel = blockIdx.x * 32 + threadIdx.x;
    float own[8] = {};
    if (channel < channels)
        for (long row = blockIdx.y * 8 + threadIdx.y; row < rows; row += gridDim.y * 8) {
            const float of_y = wide(g[row * channels + channel]);
            const long first = row + row / tokens * (taps - 1);
#pragma unroll
            for (int j = 0; j < 8; j++)
                if (j < taps) own[j] += of_y * wide(x[(first + j) * channels + channel]);
        }
#pragma unroll
    for (int j = 0; j < 8; j++) sums[threadIdx.y][j][threadIdx.x] = own[j];
    __syncthreads();
    const int tap = threadIdx.y;
    if (channel >= channels || tap >= taps) return;
    float sum = 0.0f;
    for (int y = 0; y < 8; y++) sum += sums[y][tap][threadIdx.x];
    partial[(long)blockIdx.y * channels * taps + channel * taps + tap] = sum;
}

#define DELTA(T, S)                                                                                                              \
    extern "C" __global__ void delta_inverse_##S(T *y, const T *a, int size) { inverse(y, a, size); }                           \
    extern "C" __global__ void delta_negated_below_##S(T *y, const T *x, long n, int size) { negated_below(y, x, n, size); }    \
    extern "C" __global__ void delta_convolution_##S(T *y, const T *x, const T *w, long n, int tokens, int channels, int taps) { \
        convolution(y, x, w, n, tokens, channels, taps);                                                                        \
    }                                                                                                                           \
    extern "C" __global__ void delta_convolution_backward_##S(T *dx, const T *g, const T *w, long n, int tokens, int channels,  \
                                                              int taps) {                                                       \
        convolution_backward(dx, g, w, n, tokens, channels, taps);                                                              \
    }                                                                                                                           \
    extern "C" __global__ void delta_convolution_weights_##S(float *partial, const T *x, const T *g, long rows, int tokens,     \
                                                             int channels, int taps) {                                          \
        convolution_weights(partial, x, g, rows, tokens, channels, taps);                                                       \
    }
DELTA(float, f32)
DELTA(bf16, bf16)
DELTA(f16, f16)
