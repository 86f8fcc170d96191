// How much memory the process may still take, and how much it has taken.
#pragma once

#include <cstddef>

namespace varve {

/// Bytes that can be allocated now without swapping: the least of what the machine has available,
/// what the cgroup leaves and what RLIMIT_AS leaves. 0 where nothing can be read.
size_t available_memory_bytes();

/// Peak resident set of this process so far, in bytes (VmHWM).
size_t peak_resident_bytes();

}  // namespace varve
