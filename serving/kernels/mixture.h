// The routed experts of a layer for few rows: each one that is hit is read once.
#pragma once

#include <algorithm>

#include "products.h"

namespace countersign {

// Memory that lasts from one step to the next.
class Scratch {
  public:
    ~Scratch() { std::free(memory_); }

    float* floats(int64_t count) {  // at the beginning of a cache line; what was there before is lost
        const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
        if (bytes > bytes_) {
            std::free(memory_);
            memory_ = std::aligned_alloc(64, bytes);
            bytes_ = memory_ == nullptr ? 0 : bytes;
            if (memory_ == nullptr) throw std::bad_alloc();
        }
        return static_cast<float*>(memory_);
    }

  private:
    void* memory_ = nullptr;
    size_t bytes_ = 0;
};

inline void silu_of_first_times_second(const float* both, int64_t size, float* to) {
    const Floats none = {};
    for (int64_t at = 0; at < size; at += LANES) {
        const int64_t bytes = (size - at < LANES ? size - at : LANES) * sizeof(float);
        const Floats gate = some<Floats>(both + at, bytes), up = some<Floats>(both + size + at, bytes);
        const Floats value = gate / (none + 1.0f + exponential(-gate)) * up;
        std::memcpy(to + at, &value, bytes);
    }
}

inline int64_t in_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

template <class Matrix>
std::vector<const float*> all_prepared(const Matrix& matrix, const float* rows, int64_t count, int64_t apart,
                                       Scratch& scratch) {
    const int64_t each = in_lines(matrix.row_floats());
    float* to = each ? scratch.floats(each * count) : nullptr;
    std::vector<const float*> found(count);
    for (int64_t row = 0; row < count; row++) found[row] = matrix.prepared(rows + row * apart, to + row * each);
    return found;
}

struct Choices {
    const int64_t* places;  // [rows, each]; outside of [0, held): another rank's, which count nothing here
    const float* weights;   // [rows, each]
    int64_t rows, each, held;
};

// to [rows, width of gate and up's matrices]. Stack: `at(place)` is an expert's matrix.
template <class Stack>
void mixture(const Choices& choices, const float* rows, const Stack& gate_up, const Stack& down, float* to) {
    static thread_local Scratch first, second, third;
    const auto sample = gate_up.at(0);
    const int64_t hidden = sample.width, size = sample.height / 2, all = choices.rows * choices.each;
    std::fill(to, to + choices.rows * hidden, 0.0f);
    std::vector<int64_t> order;  // entries, an expert's beside each other
    for (int64_t entry = 0; entry < all; entry++) {
        if (choices.places[entry] >= 0 && choices.places[entry] < choices.held) order.push_back(entry);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t one, int64_t other) { return choices.places[one] < choices.places[other]; });
    const auto given = all_prepared(sample, rows, choices.rows, hidden, first);
    std::vector<const float*> taken;
    std::vector<float*> results;
    for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
        const int64_t place = choices.places[order[begin]];
        while (end < order.size() && choices.places[order[end]] == place) end++;
        const int64_t count = end - begin, wide = in_lines(2 * size), inside = in_lines(size);
        float* const both = second.floats(count * (wide + inside + in_lines(hidden)));
        float *const inner = both + count * wide, *const made = inner + count * inside;
        taken.clear(), results.clear();
        for (size_t at = begin; at < end; at++) {
            taken.push_back(given[order[at] / choices.each]);
            results.push_back(both + (at - begin) * wide);
        }
        product(gate_up.at(place), taken.data(), results.data(), count);
        for (int64_t row = 0; row < count; row++) {
            silu_of_first_times_second(both + row * wide, size, inner + row * inside);
            results[row] = made + row * in_lines(hidden);
        }
        const auto last = down.at(place);
        product(last, all_prepared(last, inner, count, inside, third).data(), results.data(), count);
        for (int64_t row = 0; row < count; row++) {
            const int64_t entry = order[begin + row];
            float* const sum = to + entry / choices.each * hidden;
            for (int64_t at = 0; at < hidden; at++) sum[at] += choices.weights[entry] * results[row][at];
        }
    }
}

}  // namespace countersign
