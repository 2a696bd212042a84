// How torch's side calls in: plain C functions that answer 0, or 1 when memory ran out.

#pragma once

#include <new>
#include <system_error>

#define GRAPHSTILL_ENTRY extern "C" __attribute__((visibility("default"))) int

namespace graphstill {

template <class Body>
int guarded(const Body& body) noexcept {
  try {
    body();
    return 0;
  } catch (...) {  // no more than memory and threads can run out
    return 1;
  }
}

}  // namespace graphstill
