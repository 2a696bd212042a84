// The part of ONNX Runtime's C ABI that these operators use, written down by hand.
//
// The onnxruntime wheel ships no headers. Its C interface is a table of function pointers that only
// ever grows, so a slot number is as stable as a name; OrtCustomOp is a plain struct whose layout is
// fixed by the version stored in its first field. Layout and slots as of API version 17
// (ONNX Runtime 1.17), used unchanged by every later one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace graphstill {

constexpr uint32_t kApiVersion = 17;

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtTensorInfo;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
using OrtApi = const void* const;  // a slot of the table; an api pointer points at slot 0

struct OrtApiBase {
  const OrtApi* (*get_api)(uint32_t version);
  const char* (*version)();
};

enum ElementType : int { kFloat = 1, kInt8 = 3, kInt32 = 6, kInt64 = 7 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };
enum StatusCode : int { kFail = 1, kInvalidArgument = 2 };

namespace slot {
constexpr int kCreateStatus = 0;
constexpr int kGetErrorMessage = 2;
constexpr int kCreateCustomOpDomain = 26;
constexpr int kCustomOpDomainAdd = 27;
constexpr int kAddCustomOpDomain = 28;
constexpr int kGetTensorMutableData = 51;
constexpr int kGetDimensionsCount = 61;
constexpr int kGetDimensions = 62;
constexpr int kGetTensorTypeAndShape = 65;
constexpr int kGetAttributeFloat = 85;
constexpr int kGetAttributeInt64 = 86;
constexpr int kGetAttributeString = 87;
constexpr int kGetInputCount = 88;
constexpr int kGetOutputCount = 89;
constexpr int kGetInput = 90;
constexpr int kGetOutput = 91;
constexpr int kReleaseStatus = 93;
constexpr int kReleaseTensorInfo = 99;
constexpr int kGpuComputeStream = 193;
constexpr int kParallelFor = 274;
}  // namespace slot

// Calls one slot of the table with the given arguments.
template <class Result, class... Args>
Result call(const OrtApi* api, int slot, Args... args) {
  return reinterpret_cast<Result (*)(Args...)>(const_cast<void*>(api[slot]))(args...);
}

// Calls a slot that answers with a status, and turns a failure into an exception.
template <class... Args>
void checked(const OrtApi* api, int slot, Args... args) {
  OrtStatus* status = call<OrtStatus*>(api, slot, args...);
  if (status == nullptr) return;
  std::string message = call<const char*>(api, slot::kGetErrorMessage, (const OrtStatus*)status);
  call<void>(api, slot::kReleaseStatus, status);
  throw std::runtime_error(message);
}

// Throws with the message unless the condition holds.
inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

// The attributes of a node, read once when its kernel is created.
struct Attributes {
  const OrtApi* api;
  const OrtKernelInfo* info;

  float real(const char* name) const {
    float value = 0;
    checked(api, slot::kGetAttributeFloat, info, name, &value);
    return value;
  }
  int64_t integer(const char* name) const {
    int64_t value = 0;
    checked(api, slot::kGetAttributeInt64, info, name, &value);
    return value;
  }
  std::string text(const char* name) const {
    char buffer[64] = {};
    size_t size = sizeof(buffer);
    checked(api, slot::kGetAttributeString, info, name, (char*)buffer, &size);
    return buffer;
  }
  // Whether a reduction is a mean; else it is a sum.
  bool mean(const char* name) const {
    const std::string reduce = text(name);
    require(reduce == "sum" || reduce == "mean", "reduce must be sum or mean, got " + reduce);
    return reduce == "mean";
  }
};

template <class T>
struct Tensor {
  T* data = nullptr;  // null where an optional input was left out
  std::vector<int64_t> shape;

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const {
    int64_t product = 1;
    for (int64_t dim : shape) product *= dim;
    return product;
  }
};

// One call of a kernel: its inputs, its outputs and ONNX Runtime's own thread pool.
class Context {
 public:
  Context(const OrtApi* api, OrtKernelContext* context) : api_(api), context_(context) {}

  template <class T>
  Tensor<const T> input(size_t index) const {
    size_t count = 0;
    checked(api_, slot::kGetInputCount, (const OrtKernelContext*)context_, &count);
    const OrtValue* value = nullptr;
    if (index < count) {
      checked(api_, slot::kGetInput, (const OrtKernelContext*)context_, index, &value);
    }
    if (value == nullptr) return {};
    void* data = nullptr;
    checked(api_, slot::kGetTensorMutableData, const_cast<OrtValue*>(value), &data);
    static const T nothing{};  // an empty tensor may have no address, a missing one has no value
    return {data ? static_cast<const T*>(data) : &nothing, shape_of(value)};
  }

  template <class T>
  T* output(size_t index, std::initializer_list<int64_t> shape) const {
    size_t count = 0;
    checked(api_, slot::kGetOutputCount, (const OrtKernelContext*)context_, &count);
    OrtValue* value = nullptr;
    if (index < count) {
      checked(api_, slot::kGetOutput, context_, index, shape.begin(), shape.size(), &value);
    }
    if (value == nullptr) return nullptr;  // an optional output that nobody reads
    void* data = nullptr;
    checked(api_, slot::kGetTensorMutableData, value, &data);
    return static_cast<T*>(data);
  }

  // The stream that a provider of a GPU runs this call on.
  void* gpu_stream() const {
    void* stream = nullptr;
    checked(api_, slot::kGpuComputeStream, (const OrtKernelContext*)context_, &stream);
    return stream;
  }

  // Runs body(0) … body(count - 1) on the session's threads. The body must not throw.
  template <class Body>
  void parallel_for(size_t count, const Body& body) const {
    if (count == 1) return body(size_t{0});
    void (*trampoline)(void*, size_t) = [](void* data, size_t index) {
      (*static_cast<const Body*>(data))(index);
    };
    // as many batches as items: whoever is idle takes the next one
    checked(api_, slot::kParallelFor, (const OrtKernelContext*)context_, trampoline, count, count,
            const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  std::vector<int64_t> shape_of(const OrtValue* value) const {
    OrtTensorInfo* info = nullptr;
    checked(api_, slot::kGetTensorTypeAndShape, value, &info);
    size_t rank = 0;
    checked(api_, slot::kGetDimensionsCount, (const OrtTensorInfo*)info, &rank);
    std::vector<int64_t> shape(rank);
    checked(api_, slot::kGetDimensions, (const OrtTensorInfo*)info, shape.data(), rank);
    call<void>(api_, slot::kReleaseTensorInfo, info);
    return shape;
  }

  const OrtApi* api_;
  OrtKernelContext* context_;
};

// OrtCustomOp of API version 17.
struct CustomOp {
  uint32_t version = kApiVersion;
  void* (*create_kernel)(const CustomOp*, const OrtApi*, const OrtKernelInfo*) = nullptr;
  const char* (*name)(const CustomOp*) = nullptr;
  const char* (*provider)(const CustomOp*) = nullptr;
  ElementType (*input_type)(const CustomOp*, size_t) = nullptr;
  size_t (*input_count)(const CustomOp*) = nullptr;
  ElementType (*output_type)(const CustomOp*, size_t) = nullptr;
  size_t (*output_count)(const CustomOp*) = nullptr;
  void (*compute)(void*, OrtKernelContext*) = nullptr;
  void (*destroy)(void*) = nullptr;
  Characteristic (*input_characteristic)(const CustomOp*, size_t) = nullptr;
  Characteristic (*output_characteristic)(const CustomOp*, size_t) = nullptr;
  int (*input_memory)(const CustomOp*, size_t) = nullptr;
  int (*variadic_input_arity)(const CustomOp*) = nullptr;
  int (*variadic_input_homogeneity)(const CustomOp*) = nullptr;
  int (*variadic_output_arity)(const CustomOp*) = nullptr;
  int (*variadic_output_homogeneity)(const CustomOp*) = nullptr;
  OrtStatus* (*create_kernel_v2)(const CustomOp*, const OrtApi*, const OrtKernelInfo*,
                                 void**) = nullptr;
  OrtStatus* (*compute_v2)(void*, OrtKernelContext*) = nullptr;
  void* infer_shape = nullptr;
  int (*start_version)(const CustomOp*) = nullptr;
  int (*end_version)(const CustomOp*) = nullptr;
  void* may_inplace = nullptr;
  void* release_may_inplace = nullptr;
  void* alias_map = nullptr;
  void* release_alias_map = nullptr;
};

struct Slot {
  ElementType type;
  Characteristic characteristic = kRequired;
};

// Wraps a kernel class (name, inputs, outputs, a constructor from Attributes, compute) as a CustomOp.
template <class Kernel>
class Op : public CustomOp {
 public:
  Op() {
    name = [](const CustomOp*) { return Kernel::kName; };
    provider = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU
    input_type = [](const CustomOp*, size_t i) { return Kernel::kInputs[i].type; };
    input_count = [](const CustomOp*) { return std::size(Kernel::kInputs); };
    output_type = [](const CustomOp*, size_t i) { return Kernel::kOutputs[i].type; };
    output_count = [](const CustomOp*) { return std::size(Kernel::kOutputs); };
    input_characteristic = [](const CustomOp*, size_t i) {
      return Kernel::kInputs[i].characteristic;
    };
    output_characteristic = [](const CustomOp*, size_t i) {
      return Kernel::kOutputs[i].characteristic;
    };
    input_memory = [](const CustomOp*, size_t) { return 0; };
    variadic_input_arity = variadic_output_arity = [](const CustomOp*) { return 1; };
    variadic_input_homogeneity = variadic_output_homogeneity = [](const CustomOp*) { return 1; };
    start_version = [](const CustomOp*) { return 1; };
    end_version = [](const CustomOp*) { return 1; };
    create_kernel_v2 = [](const CustomOp*, const OrtApi* api, const OrtKernelInfo* info,
                          void** kernel) {
      return guarded(api, [&] { *kernel = new Instance{api, Kernel(Attributes{api, info})}; });
    };
    compute_v2 = [](void* kernel, OrtKernelContext* context) {
      auto* instance = static_cast<Instance*>(kernel);
      return guarded(instance->api,
                     [&] { instance->kernel.compute(Context(instance->api, context)); });
    };
    destroy = [](void* kernel) { delete static_cast<Instance*>(kernel); };
  }

 private:
  struct Instance {
    const OrtApi* api;
    Kernel kernel;
  };

  template <class Body>
  static OrtStatus* guarded(const OrtApi* api, const Body& body) {
    auto status = [api](StatusCode code, const std::exception& error) {
      std::string message = std::string("graphstill.") + Kernel::kName + ": " + error.what();
      return call<OrtStatus*>(api, slot::kCreateStatus, code, message.c_str());
    };
    try {
      body();
      return nullptr;
    } catch (const std::invalid_argument& error) {
      return status(kInvalidArgument, error);
    } catch (const std::exception& error) {
      return status(kFail, error);
    }
  }
};

}  // namespace graphstill
