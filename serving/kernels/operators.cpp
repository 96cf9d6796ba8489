// torch's operators countersign::few_rows, routed_experts, both with 4 bits, and attend_once, for processors.
//
// Compiled steps call the C functions straight, everything else goes through torch's dispatcher.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include "attention.h"

namespace {

using namespace countersign;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class Value>
const Value* values(const Tensor& tensor, ScalarType type, int64_t dims, const char* name) {
    STD_TORCH_CHECK(tensor.scalar_type() == type && tensor.dim() == dims && tensor.is_contiguous(), name,
                    " is of another type or shape, or not contiguous");
    return static_cast<const Value*>(tensor.data_ptr());
}

const float* floats(const Tensor& tensor, int64_t dims, const char* name) {
    return values<float>(tensor, ScalarType::Float, dims, name);
}

Tensor empty_like(const Tensor& rows, int64_t width) {
    const int64_t sizes[] = {rows.size(0), width}, strides[] = {width, 1};
    AtenTensorHandle made;
    TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, sizes, strides, aoti_torch_dtype_float32(),
                                                    aoti_torch_device_type_cpu(), 0, &made));
    return Tensor(made);
}

struct FloatStack {
    const float* values;
    int64_t held, height, width;

    FloatStack(const Tensor& matrices, const char* name)
        : values(floats(matrices, 3, name)), held(matrices.size(0)), height(matrices.size(1)), width(matrices.size(2)) {}

    FloatMatrix at(int64_t place) const { return {values + place * height * width, height, width}; }
};

struct Int4Stack {
    const uint8_t* codes;
    const uint16_t* scales;
    int64_t held, height, width, groups, parts;

    Int4Stack(const Tensor& codes_, const Tensor& scales_, const char* name)
        : codes(values<uint8_t>(codes_, ScalarType::Byte, 3, name)),
          scales(values<uint16_t>(scales_, ScalarType::BFloat16, 4, name)),
          held(codes_.size(0)),
          height(codes_.size(1)),
          width(2 * codes_.size(2)),
          groups(scales_.size(2)),
          parts(scales_.size(3)) {
        const int64_t size = groups ? width / groups : 0;  // a group's, and so a block's, begins at a whole lane
        STD_TORCH_CHECK(size >= 32 && (size & (size - 1)) == 0 && size * groups == width && parts >= 1 && parts <= 2 &&
                            scales_.size(1) == height && scales_.size(0) == codes_.size(0),
                        name, " has scales of other groups");
    }

    Int4Matrix at(int64_t place) const {
        const int64_t before = place * height;
        return {codes + before * (width / 2), scales + before * groups * parts, height, width, groups, parts};
    }
};

template <class Matrix>
Tensor linear(const Tensor& rows, const Matrix& matrix) {
    static thread_local Scratch scratch;
    const int64_t count = rows.size(0);
    const float* from = floats(rows, 2, "rows");
    STD_TORCH_CHECK(rows.size(1) == matrix.width, "the rows are not as wide as the matrix");
    Tensor result = empty_like(rows, matrix.height);
    float* const to = static_cast<float*>(result.data_ptr());
    std::vector<float*> results(count);
    for (int64_t row = 0; row < count; row++) results[row] = to + row * matrix.height;
    product(matrix, all_prepared(matrix, from, count, matrix.width, scratch).data(), results.data(), count);
    return result;
}

template <class Stack>
Tensor routed(const Tensor& rows, const Tensor& places, const Tensor& weights, const Stack& gate_up,
              const Stack& down) {
    const int64_t held = gate_up.held;
    const Choices choices = {values<int64_t>(places, ScalarType::Long, 2, "places"), floats(weights, 2, "weights"),
                             rows.size(0), places.size(1), held};
    const float* from = floats(rows, 2, "rows");
    STD_TORCH_CHECK(held == down.held && places.size(0) == rows.size(0) && weights.size(0) == rows.size(0) &&
                        weights.size(1) == places.size(1) && rows.size(1) == gate_up.width &&
                        down.height == gate_up.width && gate_up.height == 2 * down.width,
                    "rows, places, weights and matrices do not fit together");
    Tensor result = empty_like(rows, gate_up.width);
    mixture(choices, from, gate_up, down, static_cast<float*>(result.data_ptr()));
    return result;
}

Tensor few_rows(const Tensor& rows, const Tensor& matrix) {
    return linear(rows, FloatMatrix{floats(matrix, 2, "the matrix"), matrix.size(0), matrix.size(1)});
}

Tensor few_rows_int4(const Tensor& rows, const Tensor& codes, const Tensor& scales, int64_t place) {
    const Int4Stack stack(codes, scales, "the stack");
    STD_TORCH_CHECK(place >= 0 && place < codes.size(0), "there is no such place");
    return linear(rows, stack.at(place));
}

Tensor routed_experts(const Tensor& rows, const Tensor& places, const Tensor& weights, const Tensor& gate_up,
                      const Tensor& down) {
    return routed(rows, places, weights, FloatStack(gate_up, "gate_up"), FloatStack(down, "down"));
}

Tensor routed_experts_int4(const Tensor& rows, const Tensor& places, const Tensor& weights, const Tensor& gate_up,
                           const Tensor& gate_up_scales, const Tensor& down, const Tensor& down_scales) {
    const Int4Stack first(gate_up, gate_up_scales, "gate_up"), second(down, down_scales, "down");
    return routed(rows, places, weights, first, second);
}

// Every block that is read is in the cache: what compiled steps pass on has been checked by nobody else.
void check_tables(const PagedCache& cache, const int64_t* positions, int64_t sequences, int64_t slots) {
    for (int64_t sequence = 0; sequence < sequences; sequence++) {
        const int64_t last = positions[sequence] / cache.block_size;
        STD_TORCH_CHECK(positions[sequence] >= 0 && last < cache.blocks, "a position is outside of its table");
        for (int64_t place = 0; place <= last; place++) {
            const int64_t block = cache.tables[sequence * cache.blocks + place];
            STD_TORCH_CHECK(block >= 0 && (block + 1) * cache.block_size <= slots, "a block is outside of the cache");
        }
    }
}

Tensor attention(const Tensor& queries, const Tensor& rows, const Tensor& tables, const Tensor& positions,
                 int64_t block_size, int64_t key_heads, int64_t window, double scale) {
    const int64_t sequences = queries.size(0), heads = queries.size(1), dims = queries.size(2);
    const PagedCache cache = {floats(rows, 2, "the cache"), values<int64_t>(tables, ScalarType::Long, 2, "tables"),
                              rows.size(1), tables.size(1), block_size, key_heads, dims};
    const int64_t* at = values<int64_t>(positions, ScalarType::Long, 1, "positions");
    STD_TORCH_CHECK(dims % LANES == 0 && heads % key_heads == 0 && cache.width == 2 * key_heads * dims &&
                        block_size > 0 && window > 0 && tables.size(0) == sequences && positions.size(0) == sequences,
                    "queries, cache and tables do not fit together");
    check_tables(cache, at, sequences, rows.size(0));
    const float* from = floats(queries, 3, "queries");
    Tensor result = empty_like(queries, heads * dims);
    attend_once(cache, from, at, sequences, heads, window, float(scale), static_cast<float*>(result.data_ptr()));
    return result;
}

// The handle stays the caller's.
Tensor lent(AtenTensorHandle handle) {
    AtenTensorHandle own;
    TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(handle, &own));
    return Tensor(own);
}

template <class Work>
AOTITorchError answered(AtenTensorHandle* to, Work work) {
    try {
        TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(work().get(), to));
        return AOTI_TORCH_SUCCESS;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return AOTI_TORCH_FAILURE;
    }
}

}  // namespace

STABLE_TORCH_LIBRARY(countersign, library) {
    library.def("few_rows(Tensor rows, Tensor matrix) -> Tensor");
    library.def("few_rows_int4(Tensor rows, Tensor codes, Tensor scales, int place) -> Tensor");
    library.def("routed_experts(Tensor rows, Tensor places, Tensor weights, Tensor gate_up, Tensor down) -> Tensor");
    library.def(
        "routed_experts_int4(Tensor rows, Tensor places, Tensor weights, Tensor gate_up, Tensor gate_up_scales, "
        "Tensor down, Tensor down_scales) -> Tensor");
    library.def(
        "attend_once(Tensor queries, Tensor rows, Tensor tables, Tensor positions, int block_size, int key_heads, "
        "int window, float scale) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(countersign, CPU, library) {
    library.impl("few_rows", TORCH_BOX(&few_rows));
    library.impl("few_rows_int4", TORCH_BOX(&few_rows_int4));
    library.impl("routed_experts", TORCH_BOX(&routed_experts));
    library.impl("routed_experts_int4", TORCH_BOX(&routed_experts_int4));
    library.impl("attend_once", TORCH_BOX(&attention));
}

// What compiled steps call; serving/kernels/library.py declares the same.
extern "C" {

AOTITorchError aoti_torch_cpu_few_rows(AtenTensorHandle rows, AtenTensorHandle matrix, AtenTensorHandle* to) {
    return answered(to, [&] { return few_rows(lent(rows), lent(matrix)); });
}

AOTITorchError aoti_torch_cpu_routed_experts(AtenTensorHandle rows, AtenTensorHandle places, AtenTensorHandle weights,
                                             AtenTensorHandle gate_up, AtenTensorHandle down, AtenTensorHandle* to) {
    return answered(to, [&] {
        return routed_experts(lent(rows), lent(places), lent(weights), lent(gate_up), lent(down));
    });
}

AOTITorchError aoti_torch_cpu_routed_experts_int4(AtenTensorHandle rows, AtenTensorHandle places,
                                                  AtenTensorHandle weights, AtenTensorHandle gate_up,
                                                  AtenTensorHandle gate_up_scales, AtenTensorHandle down,
                                                  AtenTensorHandle down_scales, AtenTensorHandle* to) {
    return answered(to, [&] {
        return routed_experts_int4(lent(rows), lent(places), lent(weights), lent(gate_up), lent(gate_up_scales),
                                   lent(down), lent(down_scales));
    });
}

AOTITorchError aoti_torch_cpu_attend_once(AtenTensorHandle queries, AtenTensorHandle rows, AtenTensorHandle tables,
                                          AtenTensorHandle positions, int64_t block_size, int64_t key_heads,
                                          int64_t window, double scale, AtenTensorHandle* to) {
    return answered(to, [&] {
        return attention(lent(queries), lent(rows), lent(tables), lent(positions), block_size, key_heads, window,
                         scale);
    });
}
}
