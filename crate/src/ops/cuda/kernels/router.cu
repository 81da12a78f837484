// The experts of each token by its logits, and their weights. A warp a token.
#include "element.cuh"

enum Kind { SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN };

// What makes scores of the logits of a token.
struct Scores {
    const float *logits;
    int kind;
    float top, sum;
    __device__ __forceinline__ Scores(const float *logits, int experts, int kind) : logits(logits), kind(kind), top(0.0f), sum(1.0f) {
        if (kind != SOFTMAX) return;
        const int lane = threadIdx.x & 31;
        float highest = -INFINITY, total = 0.0f;
        for (int e = lane; e < experts; e += 32) highest = fmaxf(highest, logits[e]);
        top = warp_max(highest);
        for (int e = lane; e < experts; e += 32) total += expf(logits[e] - top);
        sum = warp_sum(total);
    }
    __device__ __forceinline__ float operator()(int expert) const {
        const float x = logits[expert];
        return kind == SOFTMAX ? expf(x - top) / sum : kind == SIGMOID ? 1.0f / (1.0f + expf(-x)) : x;
    }
};

// Added where weights are divided by their sum, as on the CPU.
constexpr float TINY = 1e-20f;

// chosen and weights [tokens, active], of logits [tokens, experts]; `correction` [experts] or null is added where experts are
// chosen. The best come first, of equal ones the one with the lower number, and NaN last. At most 1024 experts, 32 active.
__device__ __forceinline__ bool beats(float x, int at, float y, int other) {
    if (at < 0 || other < 0) return other < 0 && at >= 0;
    if (isnan(x) || isnan(y)) return isnan(x) == isnan(y) ? at < other : isnan(y);
    return x > y || (x == y && at < other);
}

extern "C" __global__ void router_choose(unsigned *chosen, float *weights, const float *all, const float *correction, long tokens,
                                         int experts, int active, int kind, int normalized, float scaling) {
    const int lane = threadIdx.x & 31;
    const long token = blockIdx.x * 8L + (threadIdx.x >> 5);
    if (token >= tokens) return;
    const Scores score(all + token * experts, experts, kind);
    unsigned taken = 0;
    float own = 0.0f;
    int own_expert = 0;
    for (int j = 0; j < active; j++) {
        float best = 0.0f;
        int at = -1;
        for (int i = 0, e = lane; e < experts; i++, e += 32) {
            if (taken >> i & 1) continue;
            const float x = score(e) + (correction ? correction[e] : 0.0f);
            if (beats(x, e, best, at)) best = x, at = e;
        }
        for (int step = 16; step > 0; step >>= 1) {
            const float x = __shfl_xor_sync(0xffffffffu, best, step);
            const int e = __shfl_xor_sync(0xffffffffu, at, step);
            if (beats(x, e, best, at)) best = x, at = e;
        }
        at = max(at, 0);
        if ((at & 31) == lane) taken |= 1u << (at >> 5);
        if (j == lane) own = score(at), own_expert = at;
    }
    const bool mine = lane < active;
    if (kind == SOFTMAX_OF_CHOSEN) {
        const float top = warp_max(mine ? own : -INFINITY);
        own = mine ? expf(own - top) : 0.0f;
        own /= warp_sum(own);
    }
    if (normalized) own /= warp_sum(mine ? own : 0.0f) + TINY;
    if (!mine) return;
    chosen[token * active + lane] = own_expert;
    weights[token * active + lane] = own * scaling;
}

// The gradient of the logits from that of the weights.
extern "C" __global__ void router_backward(float *gradient, const float *all, const unsigned *chosen, const float *g, long tokens,
                                           int experts, int active, int kind, int normalized, float scaling) {
    const int lane = threadIdx.x & 31;
    const long token = blockIdx.x * 8L + (threadIdx.x >> 5);
    if (token >= tokens) return;
    const Scores score(all + token * experts, experts, kind);
    const bool mine = lane < active;
    const int expert = mine ? chosen[token * active + lane] : 0;
    float own = mine ? score(expert) : 0.0f, of_own = mine ? g[token * active + lane] * scaling : 0.0f;
    if (kind == SOFTMAX_OF_CHOSEN) {
        const float top = warp_max(mine ? own : -INFINITY);
        own = mine ? expf(own - top) : 0.0f;
        own /= warp_sum(own);
    }
    if (normalized) {
        // All lanes take part in the sums.
        const float total = warp_sum(own) + TINY, along = warp_sum(of_own * own);
        of_own = mine ? (of_own - along / total) / total : 0.0f;
    }
    const float inner = warp_sum(of_own * own);
    gradient += token * experts;
    for (int e = lane; e < experts; e += 32) gradient[e] = kind == SOFTMAX ? -score(e) * inner : 0.0f;
    __syncwarp();
    if (!mine) return;
    gradient[expert] = kind == SIGMOID ? of_own * own * (1.0f - own) : own * (of_own - inner);
}
