// The library of operators for ONNX Runtime's CUDA provider: Triton kernels, compiled ahead of time.
//
// export/formats/cuda.py generates cubins.h: the kernels of a bundle, and what they take. Operators
// without a kernel there are not in the library.

#include "cubins.h"

#ifdef GRAPHSTILL_CUDA_SPMM
#include "spmm.h"
#endif
#ifdef GRAPHSTILL_CUDA_EXTREMUM
#include "extremum.h"
#endif
#ifdef GRAPHSTILL_CUDA_GAT
#include "gat.h"
#endif
#ifdef GRAPHSTILL_CUDA_GATV2
#include "gatv2.h"
#endif
#ifdef GRAPHSTILL_CUDA_DOT_ATTENTION
#include "dot_attention.h"
#endif

#ifndef GRAPHSTILL_PROVIDER  // a test has another one
#define GRAPHSTILL_PROVIDER "CUDAExecutionProvider"
#endif

namespace graphstill::cuda {
namespace {

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

template <class Kernel>
void add(const OrtApi* api, OrtCustomOpDomain* domain) {
  static Op<Kernel> op;
  op.provider = [](const CustomOp*) { return GRAPHSTILL_PROVIDER; };
  checked(api, slot::kCustomOpDomainAdd, domain, (const CustomOp*)&op);
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
#ifdef GRAPHSTILL_CUDA_SPMM
    add<SpmmCuda>(api, created);
#endif
#ifdef GRAPHSTILL_CUDA_EXTREMUM
    add<ExtremumCuda>(api, created);
#endif
#ifdef GRAPHSTILL_CUDA_GAT
    add<GatCuda>(api, created);
#endif
#ifdef GRAPHSTILL_CUDA_GATV2
    add<Gatv2Cuda>(api, created);
#endif
#ifdef GRAPHSTILL_CUDA_DOT_ATTENTION
    add<DotAttentionCuda>(api, created);
#endif
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
