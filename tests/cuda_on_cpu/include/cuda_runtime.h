#pragma once
// A stand-in for the CUDA runtime that executes kernels on the CPU, so that the very sources of the CUDA back end are
// tested where there is no GPU. Each block's threads are fibers that meet at barriers and exchange in warps; kernels
// and copies execute at once, after what their stream has waited for (streams.cpp); memory of the device may be touched
// by kernels and copies alone: the host faults. It shows wrong indices, wrong sums, missing barriers between writers
// and readers of one block, and host code that reads device memory. It shows neither races between blocks, nor speed.
//
// A thread of the host that is a rank has a device to itself, as a process would: plain copies wait for the streams
// that the thread has made. All such devices share one memory.
//
// It holds what our sources use. A name that is missing here is a compile error, not a surprise.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
// A local of a thread of the host that runs the block: one copy for all of the block's fibers.
#define __shared__ thread_local

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned a, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}  // NOLINT: as CUDA's
};
inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNotReady = 600,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
inline constexpr unsigned cudaStreamDefault = 0, cudaHostAllocDefault = 0, cudaEventDefault = 0,
                          cudaEventDisableTiming = 2;

struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  int major, minor, multiProcessorCount;
  std::size_t sharedMemPerBlockOptin;
};
using cudaStream_t = struct CudaOnCpuStream*;
using cudaEvent_t = struct CudaOnCpuEvent*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

const char* cudaGetErrorName(cudaError_t code);
const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMalloc(void** memory, std::size_t size_bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, std::size_t size_bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemset(void* to, int value, std::size_t size_bytes);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size_bytes, cudaStream_t stream);
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height,
                              cudaStream_t stream);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size_bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to);

namespace cuda_on_cpu {

/// Memory of the device may be touched while one of these lives.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

/// The GPU that this thread of the host takes for its own: what its properties' uuid says.
inline thread_local int gpu_of_thread = 0;

/// Calls of cudaHostAlloc since the program began.
int host_allocations_made();

/// Gives `stream` a task that may wait for other ranks: it runs on a thread of the stream's own, after all that the
/// stream was given before. `what` is for the journal.
void enqueue(cudaStream_t stream, const std::string& what, std::function<void()> task);
/// Returns when the stream has done all that it was given; null: every stream that this thread has made.
void wait_for(cudaStream_t stream);
/// What this thread has given to its streams since it last asked, one line each: "2: wait 1" is its second stream,
/// which waits for the first record of an event ("1: record 1").
std::vector<std::string> take_journal();

/// Runs `thread` once for each thread of the grid.
cudaError_t run_grid(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread);
void allow_shared_memory(const void* kernel, std::size_t size_bytes);

/// Waits until all living threads of the block (or of this thread's warp) have come here.
void block_barrier();
void warp_barrier();
int lane();
/// This thread's value for the others of its warp, and another lane's; between warp_barrier()s.
void publish(const void* value, std::size_t size_bytes);
void fetch(int lane, void* value, std::size_t size_bytes);

template <class T>
T exchange(T value, int from) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  publish(&value, sizeof value);
  warp_barrier();
  T result = value;
  fetch(from, &result, sizeof result);
  warp_barrier();
  return result;
}

}  // namespace cuda_on_cpu

template <class... Expected, class... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Actual&&... arguments) {
  const auto bound = [&] { kernel(static_cast<Expected>(arguments)...); };
  // NOLINTNEXTLINE: a function's address as a key
  return cuda_on_cpu::run_grid(*config, reinterpret_cast<const void*>(kernel), bound);
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute /*attribute*/, int value) {
  // NOLINTNEXTLINE: a function's address as a key
  cuda_on_cpu::allow_shared_memory(reinterpret_cast<const void*>(kernel), static_cast<std::size_t>(value));
  return cudaSuccess;
}

inline void __syncthreads() {
  cuda_on_cpu::block_barrier();
}
inline void __syncwarp(unsigned /*mask*/ = 0xFFFFFFFFU) {
  cuda_on_cpu::warp_barrier();
}
// All 32 lanes take part in every exchange of ours (mask 0xFFFFFFFF).
template <class T>
T __shfl_sync(unsigned /*mask*/, T value, int from, int width = 32) {
  const int lane = cuda_on_cpu::lane();
  return cuda_on_cpu::exchange(value, lane / width * width + from % width);
}
template <class T>
T __shfl_xor_sync(unsigned /*mask*/, T value, int bits, int width = 32) {
  const int lane = cuda_on_cpu::lane();
  const int from = lane ^ bits;
  return cuda_on_cpu::exchange(value, from / width == lane / width ? from : lane);
}
template <class T>
T __shfl_down_sync(unsigned /*mask*/, T value, unsigned delta, int width = 32) {
  const int lane = cuda_on_cpu::lane();
  const int from = lane + static_cast<int>(delta);
  return cuda_on_cpu::exchange(value, from / width == lane / width ? from : lane);
}
template <class T>
T atomicOr(T* at, T bits) {
  const T old = *at;
  *at = old | bits;
  return old;
}
template <class T>
T atomicMax(T* at, T value) {
  const T old = *at;
  *at = old < value ? value : old;
  return old;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
