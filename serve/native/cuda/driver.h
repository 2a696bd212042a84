// The part of CUDA's driver interface that launching takes, found when it is first needed: nothing
// here links to CUDA, and the library loads where there is none.

#pragma once

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace graphstill::cuda {

using Address = unsigned long long;  // CUdeviceptr
using Stream = void*;

// A compiled kernel; what its numbers mean is said in kernels/gpu/ahead.py.
struct Cubin {
  const char* entry;
  const unsigned char* image;
  unsigned num_warps;
  unsigned shared_bytes;
};

class Driver {
 public:
  // Throws if there is no driver.
  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

  void check(int result, const char* what) const {
    if (result == 0) return;
    const char* said = nullptr;
    error_string(result, &said);
    throw std::runtime_error(std::string(what) + " failed: " + (said ? said : "unknown error"));
  }

  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                unsigned shared_bytes, Stream, void** parameters, void** extra);
  int (*allocate)(Address*, size_t bytes, Stream);
  int (*release)(Address, Stream);
  int (*current_context)(void** context);
  int (*load)(void** module, const void* image);
  int (*find)(void** function, void* module, const char* name);

 private:
  Driver() {
    library_ = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr)
      throw std::runtime_error("there is no libcuda.so.1; is NVIDIA's driver installed?");
    bind(launch, "cuLaunchKernel");
    bind(allocate, "cuMemAllocAsync");
    bind(release, "cuMemFreeAsync");
    bind(current_context, "cuCtxGetCurrent");
    bind(load, "cuModuleLoadData");
    bind(find, "cuModuleGetFunction");
    bind(error_string, "cuGetErrorString");
  }

  template <class Function>
  void bind(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
    if (function == nullptr)
      throw std::runtime_error(std::string("libcuda.so.1 has no ") + name + "; it is too old");
  }

  void* library_;
  int (*error_string)(int, const char**);
};

// Returns a kernel's function in the context of this thread, loaded once for each context.
inline void* function_of(const Cubin& cubin) {
  static std::mutex mutex;
  static std::map<std::pair<void*, const Cubin*>, void*> loaded;
  const Driver& driver = Driver::get();
  void* context = nullptr;
  driver.check(driver.current_context(&context), "cuCtxGetCurrent");
  const std::lock_guard<std::mutex> lock(mutex);
  void*& function = loaded[{context, &cubin}];
  if (function == nullptr) {
    void* module = nullptr;
    driver.check(driver.load(&module, cubin.image), "cuModuleLoadData");
    driver.check(driver.find(&function, module, cubin.entry), "cuModuleGetFunction");
  }
  return function;
}

// Room on the device that is given back behind whatever the stream has been asked to do.
class Room {
 public:
  Room(size_t bytes, Stream stream) : stream_(stream) {
    const Driver& driver = Driver::get();
    if (bytes > 0) driver.check(driver.allocate(&address_, bytes, stream), "cuMemAllocAsync");
  }
  ~Room() {
    if (address_ != 0) Driver::get().release(address_, stream_);
  }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  Address address() const { return address_; }

 private:
  Stream stream_;
  Address address_ = 0;
};

}  // namespace graphstill::cuda
