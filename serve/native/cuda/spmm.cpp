// spmm on a CUDA device, by Triton kernels that were compiled ahead of time.
//
// export/formats/cuda.py generates cubins.h: the kernels, each for one width and one set of operands
// (kVariants), and what they take, in Triton's order (kArguments). Launches are those of
// kernels/gpu/hubs.py: the parts of hubs first, then the rows.

#include "cubins.h"

#include "../kernels.h"
#include "driver.h"

#ifndef GRAPHSTILL_PROVIDER  // a test has another one
#define GRAPHSTILL_PROVIDER "CUDAExecutionProvider"
#endif

namespace graphstill::cuda {
namespace {

struct Launch {
  Address pointers[kPointers] = {};
  int64_t num_rows, num_edges;

  void run(const Cubin& cubin, int64_t items, int64_t columns, Stream stream) {
    Address nothing = 0;
    void* parameters[std::size(kArguments) + kHidden];
    size_t count = 0;
    for (const Argument argument : kArguments) {
      if (argument == kNumRows) parameters[count++] = &num_rows;
      else if (argument == kNumEdges) parameters[count++] = &num_edges;
      else parameters[count++] = &pointers[argument];
    }
    for (int hidden = 0; hidden < kHidden; ++hidden) parameters[count++] = &nothing;
    const Driver& driver = Driver::get();
    driver.check(driver.launch(function_of(cubin), (unsigned)items, (unsigned)columns, 1,
                               32 * cubin.num_warps, 1, 1, cubin.shared_bytes, stream, parameters,
                               nullptr),
                 "cuLaunchKernel");
  }
};

class SpmmCuda {
 public:
  static constexpr const char* kName = Spmm::kName;
  static constexpr auto& kInputs = Spmm::kInputs;
  static constexpr auto& kOutputs = Spmm::kOutputs;

  explicit SpmmCuda(const Attributes& attributes) : mean_(attributes.mean("reduce")) {}

  void compute(const Context& context) const {
    const auto rowptr = context.input<int64_t>(0);
    const auto col = context.input<int32_t>(1);
    const auto x = context.input<float>(2);
    // behind x, in the order of the bits of Variant::operands
    static constexpr Argument kOptional[] = {kWeight, kSrcScale, kDstScale, kSelfWeight, kBias};
    require(rowptr.size() >= 1, "rowptr needs num_nodes + 1 entries, it has none");
    require(x.shape.size() == 2, "x must have two dimensions");
    Launch launch;
    launch.num_rows = rowptr.size() - 1, launch.num_edges = col.size();
    const int64_t features = x.shape[1];
    const int64_t sizes[] = {col.size(), x.shape[0], launch.num_rows, launch.num_rows, features};
    unsigned operands = 0;
    for (size_t i = 0; i < std::size(kOptional); ++i) {
      const auto given = context.input<float>(3 + i);
      require(!given || given.size() == sizes[i],
              "input " + std::to_string(3 + i) + " needs " + std::to_string(sizes[i]) + " values");
      operands |= (given ? 1u : 0u) << i;
      launch.pointers[kOptional[i]] = given ? address(given) : address(x);
    }
    float* out = context.output<float>(0, {launch.num_rows, features});
    if (launch.num_rows == 0 || features == 0) return;
    const Variant& variant = find(features, operands);
    const int64_t columns = (features + variant.block_f - 1) / variant.block_f;
    const int64_t tiles = launch.num_edges > kChunk ? (launch.num_edges + kChunk - 1) / kChunk : 0;
    const Stream stream = context.gpu_stream();
    const Room part(sizeof(float) * 2 * tiles * features, stream);
    launch.pointers[kRowptr] = address(rowptr);
    launch.pointers[kCol] = address(col);
    launch.pointers[kX] = launch.pointers[kResidual] = address(x);
    launch.pointers[kPart] = part.address();
    launch.pointers[kOut] = reinterpret_cast<Address>(out);
    for (const Address pointer : launch.pointers)
      require(pointer % 16 == 0, "tensors must begin at a multiple of 16 bytes");
    if (tiles > 0) launch.run(variant.hubs, 2 * tiles, columns, stream);
    launch.run(variant.rows, launch.num_rows, columns, stream);
  }

 private:
  // What is empty may have no address on the device.
  template <class T>
  static Address address(const Tensor<const T>& tensor) {
    return tensor.size() > 0 ? reinterpret_cast<Address>(tensor.data) : 0;
  }

  const Variant& find(int64_t features, unsigned operands) const {
    for (const Variant& variant : kVariants)
      if (variant.features == features && variant.operands == operands && variant.mean == mean_)
        return variant;
    throw std::invalid_argument(
        "this library holds no kernel for " + std::to_string(features) +
        " features with these operands; build it for this bundle: graphstill.export.formats.cuda");
  }

  bool mean_;
};

// The library of the CPU's operators, which lies beside this one, for this processor.
void* cpu_library() {
  Dl_info here;
  dladdr(reinterpret_cast<void*>(&cpu_library), &here);
  std::string folder = here.dli_fname;
  folder.resize(folder.find_last_of('/') + 1);
  const std::string base = folder + "libgraphstill_ort";
  void* portable = dlopen((base + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (portable == nullptr) throw std::runtime_error(dlerror());
  const auto level = reinterpret_cast<const char* (*)()>(dlsym(portable, "graphstill_level"));
  void* better = level ? dlopen((base + "." + level() + ".so").c_str(), RTLD_NOW | RTLD_LOCAL)
                       : nullptr;
  return better ? better : portable;
}

void add_domain(OrtSessionOptions* options, const OrtApi* api) {
  // lives as long as the process: sessions keep a pointer to it
  static OrtCustomOpDomain* domain = [api] {
    OrtCustomOpDomain* created = nullptr;
    checked(api, slot::kCreateCustomOpDomain, "graphstill", &created);
    // a session on the CPU looks among the operators of the domain, not at function bodies
    const auto add_cpu = reinterpret_cast<void (*)(const OrtApi*, OrtCustomOpDomain*)>(
        dlsym(cpu_library(), "graphstill_add_operators"));
    if (add_cpu == nullptr)
      throw std::runtime_error("libgraphstill_ort.so beside this library is of another version");
    add_cpu(api, created);
    static Op<SpmmCuda> spmm;
    spmm.provider = [](const CustomOp*) { return GRAPHSTILL_PROVIDER; };
    checked(api, slot::kCustomOpDomainAdd, created, (const CustomOp*)&spmm);
    return created;
  }();
  checked(api, slot::kAddCustomOpDomain, options, domain);
}

}  // namespace
}  // namespace graphstill::cuda

extern "C" __attribute__((visibility("default"))) graphstill::OrtStatus* RegisterCustomOps(
    graphstill::OrtSessionOptions* options, const graphstill::OrtApiBase* base) {
  using namespace graphstill;
  const OrtApi* api = base->get_api(kApiVersion);
  if (api == nullptr) return nullptr;  // ONNX Runtime before 1.17: it has said so on stderr
  try {
    cuda::add_domain(options, api);
    return nullptr;
  } catch (const std::exception& error) {
    return call<OrtStatus*>(api, slot::kCreateStatus, kFail, error.what());
  }
}
