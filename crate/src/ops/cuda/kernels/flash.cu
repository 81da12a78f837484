// Attention by blocks of queries and keys on tensor cores (mma.sync, sm_80 and later), forward and backward, for bf16 and
// f16 and heads of 64 or 128. Scores never leave the registers; the forward keeps each row's log-sum-exp, and the
// backward computes the probabilities again from it.
//
// The layout of all three kernels is one: the rows of a block belong to a warp each 16 (or 32), as left operand A in
// registers; tiles of the other side stream through shared memory as right operand B, two in flight. The forward and the
// queries' gradient have queries as rows; the gradient of keys and values has keys as rows and works on transposed
// scores, so that nothing is ever transposed in memory and nothing is added by atomics: results are the same every time.
#include "matrix.cuh"

struct Flash {
    long q_batch, q_head, q_row;  // strides in elements; what the kernels write is contiguous
    long k_batch, k_head, k_row;
    long v_batch, v_head, v_row;
    long g_batch, g_head, g_row;  // of the output's gradient
    const unsigned char *padded;  // [batch, keys], 1 hides; or null
    const unsigned *documents;    // [batch, keys]; or null
    const float *slopes;          // [heads]; or null
    const float *sinks;           // [heads], one more score of a key whose value is zero; or null
    int heads, kv_heads, queries, keys;
    int past_len, window, causal;     // query q sees keys up to q + past_len if causal, the last `window` of them if not 0
    float scale;
    float cap;                        // scaled scores become cap tanh(score/cap) if not 0
};

constexpr float LOG2E = 1.4426950408889634f;

// 2^x; zero for -infinity and for subnormal results
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// c [M tiles][N/8 tiles] = a times the transposed tile: c = A tile^T with A's fragments in registers
template <typename T, int D, int M, int N>
__device__ __forceinline__ void times_transposed(float (&c)[M][N / 8][4], const uint32_t (&a)[M][D / 16][4], const T *tile) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) c[m][n][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            uint32_t b[4];
            Tile<T, D>::right(b, tile, 16 * n, k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma<T>(c[m][2 * n], a[m][k], b[0], b[1]);
                mma<T>(c[m][2 * n + 1], a[m][k], b[2], b[3]);
            }
        }
}

// c [M][D/8] += p tile, where p [M][N/8] are results of another product: they have exactly the layout of left operands
template <typename T, int D, int M, int N>
__device__ __forceinline__ void add_times(float (&c)[M][D / 8][4], const float (&p)[M][N / 8][4], const T *tile) {
#pragma unroll
    for (int k = 0; k < N / 16; k++) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            a[m][0] = pair(p[m][2 * k][0], p[m][2 * k][1], T());
            a[m][1] = pair(p[m][2 * k][2], p[m][2 * k][3], T());
            a[m][2] = pair(p[m][2 * k + 1][0], p[m][2 * k + 1][1], T());
            a[m][3] = pair(p[m][2 * k + 1][2], p[m][2 * k + 1][3], T());
        }
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            uint32_t b[4];
            Tile<T, D>::right_transposed(b, tile, k, 16 * n);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma<T>(c[m][2 * n], a[m], b[0], b[1]);
                mma<T>(c[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// tanh, to float32's precision beside 1: the approximation of the hardware is not enough for a cap of 50.
__device__ __forceinline__ float hyperbolic_tangent(float x) { return 1.0f - __fdividef(2.0f, power_of_two(2.0f * LOG2E * x) + 1.0f); }

// Caps unscaled scores.
template <int M, int N> __device__ __forceinline__ void cap_scores(float (&s)[M][N / 8][4], const Flash &f) {
    if (f.cap == 0.0f) return;
    const float inside = f.scale / f.cap, outside = f.cap / f.scale;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][n][i] = outside * hyperbolic_tangent(inside * s[m][n][i]);
}

// The derivative of a capped score, from the score over the cap. What is hidden or not a number has none.
__device__ __forceinline__ float cap_slope(float t) {
    t = fminf(fmaxf(t, -1.0f), 1.0f);
    return 1.0f - t * t;
}

// Scores [M][N/8] of 16-row tiles from `row` against columns from `column`: adds the slope's part, and sets to -infinity
// what may not be seen. Rows are queries and columns keys, or the other way round if TRANSPOSED.
template <bool TRANSPOSED, int M, int N>
__device__ __forceinline__ void hide(float (&s)[M][N / 8][4], const Flash &f, int batch, int row, int column, bool all, float slope) {
    const int lane = threadIdx.x & 31;
    row += lane / 4, column += 2 * (lane & 3);
    if (f.slopes) {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int distance = column + 8 * n + (i & 1) - (row + 16 * m + 8 * (i / 2));
                    s[m][n][i] += slope * ((TRANSPOSED ? -distance : distance) - f.past_len);
                }
    }
    if (all) return;
    const unsigned char *const padded = f.padded ? f.padded + (long)batch * f.keys : nullptr;
    const unsigned *const documents = f.documents ? f.documents + (long)batch * f.keys : nullptr;
    // What a query or key may be compared with lies between these; a document of its own hides everything.
    int low[M][2], high[M][2];
    unsigned document[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int r = row + 16 * m + 8 * half;
            const bool there = r < (TRANSPOSED ? f.keys : f.queries);
            if (TRANSPOSED) {
                low[m][half] = f.causal ? r - f.past_len : 0;
                high[m][half] = there && !(padded && padded[r]) ? (f.window ? r + f.window - f.past_len : f.queries) : 0;
                high[m][half] = min(high[m][half], f.queries);
            } else {
                low[m][half] = f.window ? r + f.past_len - f.window + 1 : 0;
                high[m][half] = there ? (f.causal ? min(r + f.past_len + 1, f.keys) : f.keys) : 0;
            }
            document[m][half] = documents && there ? documents[TRANSPOSED ? r : r + f.past_len] : 0;
        }
#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int c = column + 8 * n + j;
            const bool there = c < (TRANSPOSED ? f.queries : f.keys) && (TRANSPOSED || !padded || !padded[c]);
            const unsigned other = documents && there ? documents[TRANSPOSED ? c + f.past_len : c] : 0;
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    if (!there || c < low[m][half] || c >= high[m][half] || document[m][half] != other) s[m][n][2 * half + j] = -INFINITY;
        }
}

// True if every key of k..k+N is visible to every query of q..q+M by position alone.
__device__ __forceinline__ bool whole(const Flash &f, int q, int m, int k, int n) {
    if (f.padded || f.documents) return false;
    if (k + n > f.keys || q + m > f.queries) return false;
    if (f.causal && k + n - 1 > q + f.past_len) return false;
    return !f.window || k + f.window > q + m - 1 + f.past_len;
}

// The keys that the queries q..q+m can see lie in [from, to).
__device__ __forceinline__ void key_range(const Flash &f, int q, int m, int &from, int &to) {
    const int last = min(q + m, f.queries) - 1 + f.past_len;
    to = f.causal ? min(f.keys, last + 1) : f.keys;
    from = f.window ? max(0, q + f.past_len - f.window + 1) : 0;
}

// Writes 16-row results of a warp, scaled by row.
template <typename T, int D>
__device__ __forceinline__ void put(T *to, long stride, const float (&c)[D / 8][4], int row, int rows, float low, float high) {
    const int lane = threadIdx.x & 31, r = row + lane / 4;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        const int column = 8 * n + 2 * (lane & 3);
        if (r < rows) *reinterpret_cast<uint32_t *>(to + r * stride + column) = pair(c[n][0] * low, c[n][1] * low, T());
        if (r + 8 < rows) *reinterpret_cast<uint32_t *>(to + (r + 8) * stride + column) = pair(c[n][2] * high, c[n][3] * high, T());
    }
}

// Grid: (blocks of queries, heads, batch), 4 warps. o and lse [batch, heads, queries].
template <typename T, int D, int M, int N>
__device__ void forward(T *o, float *lse, const T *q, const T *k, const T *v, const Flash &f) {
    constexpr int ROWS = 64 * M, THREADS = 128;
    extern __shared__ __align__(128) char memory[];
    T *const tile_q = reinterpret_cast<T *>(memory);
    T *const tile_k = tile_q + ROWS * D, *const tile_v = tile_k + 2 * N * D;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    // The longest rows first: the short ones fill the end.
    const int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, batch = blockIdx.z;
    const int kv_head = head / (f.heads / f.kv_heads);
    q += batch * f.q_batch + head * f.q_head + first * f.q_row;
    k += batch * f.k_batch + kv_head * f.k_head;
    v += batch * f.v_batch + kv_head * f.v_head;
    int from, to;
    key_range(f, first, ROWS, from, to);
    from = from / N * N;

    Tile<T, D>::template fetch<ROWS, THREADS>(tile_q, q, f.q_row, f.queries - first);
    if (from < to) {
        Tile<T, D>::template fetch<N, THREADS>(tile_k, k + from * f.k_row, f.k_row, f.keys - from);
        Tile<T, D>::template fetch<N, THREADS>(tile_v, v + from * f.v_row, f.v_row, f.keys - from);
    }
    commit();

    uint32_t a[M][D / 16][4];
    float sums[M][D / 8][4], top[M][2], total[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) {
        top[m][0] = top[m][1] = -INFINITY, total[m][0] = total[m][1] = 0.0f;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
    }
    const float to_log2 = f.scale * LOG2E;
    // In units of the unscaled scores.
    const float slope = f.slopes ? f.slopes[head] / f.scale : 0.0f;
    const int row = first + warp * 16 * M;

    int buffer = 0;
    for (int key = from; key < to; key += N, buffer ^= 1) {
        if (key + N < to) {
            const int next = key + N;
            Tile<T, D>::template fetch<N, THREADS>(tile_k + (buffer ^ 1) * N * D, k + next * f.k_row, f.k_row, f.keys - next);
            Tile<T, D>::template fetch<N, THREADS>(tile_v + (buffer ^ 1) * N * D, v + next * f.v_row, f.v_row, f.keys - next);
            commit();
            wait<1>();
        } else {
            wait<0>();
        }
        __syncthreads();
        if (key == from) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < D / 16; i++) Tile<T, D>::left(a[m][i], tile_q, (warp * M + m) * 16, i);
        }
        float s[M][N / 8][4];
        times_transposed<T, D, M, N>(s, a, tile_k + buffer * N * D);
        cap_scores<M, N>(s, f);
        hide<false, M, N>(s, f, batch, row, key, whole(f, row, 16 * M, key, N), slope);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float highest = top[m][half];
#pragma unroll
                for (int n = 0; n < N / 8; n++) highest = fmaxf(highest, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
                highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
                highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
                // A row that has seen nothing yet stays at zero.
                const float base = highest == -INFINITY ? 0.0f : highest * to_log2;
                const float fade = power_of_two(top[m][half] * to_log2 - base);
                top[m][half] = highest;
                float sum = 0.0f;
#pragma unroll
                for (int n = 0; n < N / 8; n++)
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; i++) s[m][n][i] = power_of_two(s[m][n][i] * to_log2 - base), sum += s[m][n][i];
                total[m][half] = total[m][half] * fade + sum;
#pragma unroll
                for (int n = 0; n < D / 8; n++) sums[m][n][2 * half] *= fade, sums[m][n][2 * half + 1] *= fade;
            }
        add_times<T, D, M, N>(sums, s, tile_v + buffer * N * D);
        __syncthreads();
    }
    o += ((long)batch * f.heads + head) * f.queries * D;
    lse += ((long)batch * f.heads + head) * f.queries;
#pragma unroll
    for (int m = 0; m < M; m++) {
        float inverse[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = total[m][half];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            float base = top[m][half] * to_log2, kept = 1.0f;
            if (f.sinks) {
                const float sink = f.sinks[head] * LOG2E, highest = fmaxf(base, sink);
                kept = power_of_two(base - highest), sum = sum * kept + power_of_two(sink - highest), base = highest;
            }
            inverse[half] = sum > 0.0f ? kept / sum : 0.0f;
            const int r = row + 16 * m + lane / 4 + 8 * half;
            // Infinity makes the probabilities of a row that sees nothing zero in the backward.
            if ((lane & 3) == 0 && r < f.queries) lse[r] = sum > 0.0f ? base + log2f(sum) : INFINITY;
        }
        put<T, D>(o, D, sums[m], row + 16 * m, f.queries, inverse[0], inverse[1]);
    }
}

// delta [batch, heads, queries] = sum over the head of o*g; a warp a row.
template <typename T>
__device__ void output_dot(float *delta, const T *o, const T *g, const Flash &f, int width, long rows) {
    const long r = blockIdx.x * (long)(blockDim.x >> 5) + (threadIdx.x >> 5);
    if (r >= rows) return;
    const int query = r % f.queries, head = r / f.queries % f.heads;
    const long batch = r / f.queries / f.heads;
    o += r * width;
    g += batch * f.g_batch + head * f.g_head + query * f.g_row;
    float sum = 0.0f;
    for (int c = 2 * (threadIdx.x & 31); c < width; c += 64) sum += wide(o[c]) * wide(g[c]) + wide(o[c + 1]) * wide(g[c + 1]);
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) delta[r] = sum;
}

// Grid: (blocks of queries, heads, batch), 4 warps. of_slopes [batch, heads, blocks] or null.
template <typename T, int D, int M, int N>
__device__ void backward_queries(T *dq, float *of_slopes, const T *q, const T *k, const T *v, const T *g, const float *lse,
                                 const float *delta, const Flash &f) {
    constexpr int ROWS = 64 * M, THREADS = 128;
    extern __shared__ __align__(128) char memory[];
    T *const tile_q = reinterpret_cast<T *>(memory), *const tile_g = tile_q + ROWS * D;
    T *const tile_k = tile_g + ROWS * D, *const tile_v = tile_k + 2 * N * D;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first = (gridDim.x - 1 - blockIdx.x) * ROWS, head = blockIdx.y, batch = blockIdx.z;
    const int kv_head = head / (f.heads / f.kv_heads);
    q += batch * f.q_batch + head * f.q_head + first * f.q_row;
    g += batch * f.g_batch + head * f.g_head + first * f.g_row;
    k += batch * f.k_batch + kv_head * f.k_head;
    v += batch * f.v_batch + kv_head * f.v_head;
    int from, to;
    key_range(f, first, ROWS, from, to);
    from = from / N * N;

    Tile<T, D>::template fetch<ROWS, THREADS>(tile_q, q, f.q_row, f.queries - first);
    Tile<T, D>::template fetch<ROWS, THREADS>(tile_g, g, f.g_row, f.queries - first);
    if (from < to) {
        Tile<T, D>::template fetch<N, THREADS>(tile_k, k + from * f.k_row, f.k_row, f.keys - from);
        Tile<T, D>::template fetch<N, THREADS>(tile_v, v + from * f.v_row, f.v_row, f.keys - from);
    }
    commit();

    const int row = first + warp * 16 * M;
    uint32_t a[M][D / 16][4], e[M][D / 16][4];
    float sums[M][D / 8][4], base[M][2], level[M][2];
    const long rows = ((long)batch * f.heads + head) * f.queries;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int r = row + 16 * m + lane / 4 + 8 * half;
            base[m][half] = r < f.queries ? lse[rows + r] : INFINITY;
            level[m][half] = r < f.queries ? delta[rows + r] : 0.0f;
        }
    }
    const float to_log2 = f.scale * LOG2E;
    const float slope = f.slopes ? f.slopes[head] / f.scale : 0.0f;
    float of_slope = 0.0f;

    int buffer = 0;
    for (int key = from; key < to; key += N, buffer ^= 1) {
        if (key + N < to) {
            const int next = key + N;
            Tile<T, D>::template fetch<N, THREADS>(tile_k + (buffer ^ 1) * N * D, k + next * f.k_row, f.k_row, f.keys - next);
            Tile<T, D>::template fetch<N, THREADS>(tile_v + (buffer ^ 1) * N * D, v + next * f.v_row, f.v_row, f.keys - next);
            commit();
            wait<1>();
        } else {
            wait<0>();
        }
        __syncthreads();
        if (key == from) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < D / 16; i++) {
                    Tile<T, D>::left(a[m][i], tile_q, (warp * M + m) * 16, i);
                    Tile<T, D>::left(e[m][i], tile_g, (warp * M + m) * 16, i);
                }
        }
        float s[M][N / 8][4], d[M][N / 8][4];
        times_transposed<T, D, M, N>(s, a, tile_k + buffer * N * D);
        times_transposed<T, D, M, N>(d, e, tile_v + buffer * N * D);
        cap_scores<M, N>(s, f);
        hide<false, M, N>(s, f, batch, row, key, whole(f, row, 16 * M, key, N), slope);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    d[m][n][i] = power_of_two(s[m][n][i] * to_log2 - base[m][i / 2]) * (d[m][n][i] - level[m][i / 2]);
        if (f.cap != 0.0f) {
            const float inside = f.scale / f.cap;
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < N / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) d[m][n][i] *= cap_slope(inside * s[m][n][i]);
        }
        if (of_slopes) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < N / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int qi = row + 16 * m + lane / 4 + 8 * (i / 2), ki = key + 8 * n + 2 * (lane & 3) + (i & 1);
                        of_slope += d[m][n][i] * (ki - qi - f.past_len);
                    }
        }
        add_times<T, D, M, N>(sums, d, tile_k + buffer * N * D);
        __syncthreads();
    }
    dq += ((long)batch * f.heads + head) * f.queries * D;
#pragma unroll
    for (int m = 0; m < M; m++) put<T, D>(dq, D, sums[m], row + 16 * m, f.queries, f.scale, f.scale);
    if (of_slopes) {
        of_slope = block_sum(of_slope);
        if (threadIdx.x == 0) of_slopes[((long)batch * f.heads + head) * gridDim.x + blockIdx.x] = of_slope;
    }
}

// Grid: (blocks of keys, heads of keys, batch), 4 warps. The queries of all heads that share the keys pass by.
template <typename T, int D, int M, int N>
__device__ void backward_keys(T *dk, T *dv, const T *q, const T *k, const T *v, const T *g, const float *lse, const float *delta,
                              const Flash &f) {
    constexpr int ROWS = 64 * M, THREADS = 128;
    extern __shared__ __align__(128) char memory[];
    T *const tile_k = reinterpret_cast<T *>(memory), *const tile_v = tile_k + ROWS * D;
    T *const tile_q = tile_v + ROWS * D, *const tile_g = tile_q + 2 * N * D;
    float *const bases = reinterpret_cast<float *>(tile_g + 2 * N * D), *const levels = bases + 2 * N;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first = blockIdx.x * ROWS, kv_head = blockIdx.y, batch = blockIdx.z;
    const int group = f.heads / f.kv_heads;
    k += batch * f.k_batch + kv_head * f.k_head + first * f.k_row;
    v += batch * f.v_batch + kv_head * f.v_head + first * f.v_row;
    const int row = first + warp * 16 * M;

    // The queries that see these keys lie in [from, to) of each head.
    const int last = min(first + ROWS, f.keys) - 1;
    int from = f.causal ? max(0, first - f.past_len) : 0;
    const int to = f.window ? min(f.queries, last + f.window - f.past_len) : f.queries;
    from = from / N * N;
    const int blocks = to > from ? (to - from + N - 1) / N : 0, steps = blocks * group;

    Tile<T, D>::template fetch<ROWS, THREADS>(tile_k, k, f.k_row, f.keys - first);
    Tile<T, D>::template fetch<ROWS, THREADS>(tile_v, v, f.v_row, f.keys - first);

    auto fetch = [&](int step, int buffer) {
        const int head = kv_head * group + step / blocks, query = from + step % blocks * N, left = f.queries - query;
        const T *qs = q + batch * f.q_batch + head * f.q_head + query * f.q_row;
        const T *gs = g + batch * f.g_batch + head * f.g_head + query * f.g_row;
        Tile<T, D>::template fetch<N, THREADS>(tile_q + buffer * N * D, qs, f.q_row, left);
        Tile<T, D>::template fetch<N, THREADS>(tile_g + buffer * N * D, gs, f.g_row, left);
        const long rows = ((long)batch * f.heads + head) * f.queries + query;
        for (int i = threadIdx.x; i < 2 * N; i += THREADS) {
            const int r = i % N;
            const float *source = i < N ? lse : delta;
            copy4((i < N ? bases : levels) + buffer * N + r, source + rows + (r < left ? r : 0), r < left);
        }
    };
    if (steps > 0) fetch(0, 0);
    commit();

    uint32_t a[M][D / 16][4], e[M][D / 16][4];
    float of_k[M][D / 8][4], of_v[M][D / 8][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) of_k[m][n][i] = of_v[m][n][i] = 0.0f;
    const float to_log2 = f.scale * LOG2E;

    for (int step = 0; step < steps; step++) {
        const int buffer = step & 1;
        if (step + 1 < steps) {
            fetch(step + 1, buffer ^ 1);
            commit();
            wait<1>();
        } else {
            wait<0>();
        }
        __syncthreads();
        if (step == 0) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < D / 16; i++) {
                    Tile<T, D>::left(a[m][i], tile_k, (warp * M + m) * 16, i);
                    Tile<T, D>::left(e[m][i], tile_v, (warp * M + m) * 16, i);
                }
        }
        const int head = kv_head * group + step / blocks, query = from + step % blocks * N;
        const float slope = f.slopes ? f.slopes[head] / f.scale : 0.0f;
        const float *const base = bases + buffer * N, *const level = levels + buffer * N;
        // Transposed: rows are keys, columns are queries.
        float s[M][N / 8][4];
        times_transposed<T, D, M, N>(s, a, tile_q + buffer * N * D);
        cap_scores<M, N>(s, f);
        hide<true, M, N>(s, f, batch, row, query, whole(f, query, N, row, 16 * M), slope);
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
            const float2 b = *reinterpret_cast<const float2 *>(base + 8 * n + 2 * (lane & 3));
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) s[m][n][i] = power_of_two(s[m][n][i] * to_log2 - (i & 1 ? b.y : b.x));
        }
        add_times<T, D, M, N>(of_v, s, tile_g + buffer * N * D);
        float d[M][N / 8][4];
        times_transposed<T, D, M, N>(d, e, tile_g + buffer * N * D);
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
            const float2 b = *reinterpret_cast<const float2 *>(level + 8 * n + 2 * (lane & 3));
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) d[m][n][i] = s[m][n][i] * (d[m][n][i] - (i & 1 ? b.y : b.x));
        }
        if (f.cap != 0.0f) {
            // The scores again, from their probabilities.
            const float inside = 1.0f / (LOG2E * f.cap);
#pragma unroll
            for (int n = 0; n < N / 8; n++) {
                const float2 b = *reinterpret_cast<const float2 *>(base + 8 * n + 2 * (lane & 3));
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int i = 0; i < 4; i++) d[m][n][i] *= cap_slope(inside * (__log2f(s[m][n][i]) + (i & 1 ? b.y : b.x)));
            }
        }
        add_times<T, D, M, N>(of_k, d, tile_q + buffer * N * D);
        __syncthreads();
    }
    dk += ((long)batch * f.kv_heads + kv_head) * f.keys * D;
    dv += ((long)batch * f.kv_heads + kv_head) * f.keys * D;
#pragma unroll
    for (int m = 0; m < M; m++) {
        put<T, D>(dk, D, of_k[m], row + 16 * m, f.keys, f.scale, f.scale);
        put<T, D>(dv, D, of_v[m], row + 16 * m, f.keys, 1.0f, 1.0f);
    }
}

// ---- Names for the host. M tiles of 16 rows a warp and N columns a step: what fits the registers.

#define FLASH(T, S, D, FM, FN, QM, QN, KM, KN)                                                                              \
    extern "C" __global__ void __launch_bounds__(128) flash_forward_##D##_##S(T *o, float *lse, const T *q, const T *k,      \
                                                                              const T *v, Flash f) {                        \
        forward<T, D, FM, FN>(o, lse, q, k, v, f);                                                                          \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(128)                                                                       \
        flash_backward_queries_##D##_##S(T *dq, float *of_slopes, const T *q, const T *k, const T *v, const T *g,           \
                                         const float *lse, const float *delta, Flash f) {                                   \
        backward_queries<T, D, QM, QN>(dq, of_slopes, q, k, v, g, lse, delta, f);                                           \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(128)                                                                       \
        flash_backward_keys_##D##_##S(T *dk, T *dv, const T *q, const T *k, const T *v, const T *g, const float *lse,       \
                                      const float *delta, Flash f) {                                                        \
        backward_keys<T, D, KM, KN>(dk, dv, q, k, v, g, lse, delta, f);                                                     \
    }
#define FLASHES(T, S)                                                                                                       \
    FLASH(T, S, 64, 2, 64, 2, 32, 1, 64)                                                                                    \
    FLASH(T, S, 128, 1, 64, 1, 32, 1, 32)                                                                                   \
    extern "C" __global__ void flash_output_dot_##S(float *delta, const T *o, const T *g, Flash f, int width, long rows) {  \
        output_dot(delta, o, g, f, width, rows);                                                                            \
    }
FLASHES(bf16, bf16)
FLASHES(f16, f16)
