#include "kernels/simd.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/kernels.h"

// Vectors of known width only, and no scalar emulation: "ref" serves machines below SSE4 or Neon.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
#include "kernels/simd_attend-inl.h"
#include "kernels/simd_attend_kv-inl.h"
#include "kernels/simd_elementwise-inl.h"
#include "kernels/simd_index-inl.h"
#include "kernels/simd_index_native-inl.h"
#include "kernels/simd_linear-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

const Kernels& kernels() {
  static const Kernels set = {
      .name = "simd",
      .description = hwy::TargetName(HWY_TARGET),
      .linear = linear,
      .linear_bf16 = linear_bf16,
      .attend = attend,
      .attend_kv = attend_kv,
      .row_dots = ref_kernels().row_dots,
      .kv_dots = ref_kernels().kv_dots,
      .index_scores = index_scores,
      .index_scores_native = index_scores_native,
      .pool = pool,
      .rms_norm = rms_norm,
      .inverse_rms = inverse_rms,
      .rope = rope,
      .rope_halves = rope_halves,
      .swiglu = swiglu,
      .hc_coefficients = ref_kernels().hc_coefficients,  // a few hundred values a token
      .hc_collapse = hc_collapse,
      .hc_expand = hc_expand,
      .add = add,
      .round_bf16 = round_bf16,
  };
  return set;
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace varve {

std::span<const Kernels* const> simd_kernels() {
  static const std::vector<const Kernels*> sets = [] {
    std::vector<const Kernels*> found;
    const int64_t supported = hwy::SupportedTargets();
    (void)supported;
#if HWY_TARGETS & HWY_AVX3
    if ((supported & HWY_AVX3) != 0) found.push_back(&N_AVX3::kernels());
#endif
#if HWY_TARGETS & HWY_AVX2
    if ((supported & HWY_AVX2) != 0) found.push_back(&N_AVX2::kernels());
#endif
#if HWY_TARGETS & HWY_SSE4
    if ((supported & HWY_SSE4) != 0) found.push_back(&N_SSE4::kernels());
#endif
#if HWY_TARGETS & HWY_NEON
    if ((supported & HWY_NEON) != 0) found.push_back(&N_NEON::kernels());
#endif
    return found;
  }();
  return sets;
}

}  // namespace varve
#endif
