// Tensors in half or single precision, as the macro HALF says; sums are in single precision.
#pragma once

#ifdef HALF
using Value = unsigned short;  // the bits
#ifdef __CUDACC_RTC__          // without the header of CUDA that does the same, which NVRTC may not find
__device__ inline float widened(Value bits) {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
    return number;
}
__device__ inline Value narrowed(float number) {
    Value bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
    return bits;
}
#endif
#else
using Value = float;
__device__ inline float widened(float number) { return number; }
__device__ inline float narrowed(float number) { return number; }
#endif
