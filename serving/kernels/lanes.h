// Vectors of as many floats as the processor adds at once, by the compiler's own vector types: no instruction is named.
#pragma once

#include <cstdint>
#include <cstring>

namespace countersign {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

template <class Vector>
inline Vector load(const void* from) {
    Vector found;
    std::memcpy(&found, from, sizeof found);
    return found;
}

template <class Vector>
inline Vector some(const void* from, int64_t bytes) {  // fewer than it holds; the others are 0
    Vector found = {};
    std::memcpy(&found, from, bytes);
    return found;
}

inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof values); }

inline Ints numbered() {
    Ints found;
    for (int lane = 0; lane < LANES; lane++) found[lane] = lane;
    return found;
}

// The lower halves of pairs of runs of `WIDTH` lanes beside each other, or the upper ones (`from` = WIDTH / 2).
template <int WIDTH>
inline Ints halves(int from) {
    Ints found;
    for (int lane = 0; lane < LANES; lane++) {
        const int run = lane / (WIDTH / 2), inside = lane % (WIDTH / 2);
        found[lane] = run * WIDTH + inside + from;  // above LANES: of the second vector
    }
    return found;
}

template <int WIDTH>
inline Floats folded(Floats one, Floats other) {
    return __builtin_shuffle(one, other, halves<WIDTH>(0)) + __builtin_shuffle(one, other, halves<WIDTH>(WIDTH / 2));
}

template <int WIDTH>
inline Floats folded_alone(Floats values) {
    if constexpr (WIDTH == 1) {
        return values;
    } else {
        return folded_alone<WIDTH / 2>(folded<WIDTH>(values, values));
    }
}

// The sum of each of four vectors' lanes; always in the same order, whatever the other three hold.
inline void sums_of_four(const Floats (&values)[4], float* to) {
    const Floats pairs = folded<LANES>(values[0], values[1]), others = folded<LANES>(values[2], values[3]);
    const Floats four = folded<LANES / 2>(pairs, others);  // a quarter of the lanes each
    const Floats sums = folded_alone<LANES / 4>(four);
    std::memcpy(to, &sums, 4 * sizeof(float));
}

// e to the power of each, to some 2 units in the last place; below -87 and above 88 as if it were those.
inline Floats exponential(Floats x) {
    const Floats none = {}, high = none + 88.0f, low = none - 87.0f;
    x = x > high ? high : x;
    x = x < low ? low : x;
    const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: what is behind the point is rounded away
    const Floats whole = shifted - 12582912.0f;
    const Floats rest = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    Floats sum = none + 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const Ints power = (__builtin_convertvector(whole, Ints) + 127) << 23;
    return sum * load<Floats>(&power);
}

}  // namespace countersign
