// How much memory the process may still take, and how much it has taken.
#pragma once

#include <cstddef>
#include <string>

namespace varve {

/// Bytes that can be used now without swapping: the lesser of what the machine has available and
/// what the cgroup leaves. The largest size_t where nothing can be read.
size_t available_memory_bytes();

/// Bytes that RLIMIT_AS lets this process map in addition to what it has mapped. The largest
/// size_t without a limit.
size_t address_space_left_bytes();

/// Address space that a thread's stack takes where nobody says how large it is.
size_t thread_stack_bytes();

/// Memory of this process now that is no page of a file, exactly (RssAnon of /proc/self/status lags
/// behind by some hundred KiB). 0 where the system does not say.
size_t private_resident_bytes();

/// Peak resident set of this process so far, in bytes (VmHWM).
size_t peak_resident_bytes();

/// Gives the heap's free pages back to the system, where the C library can: what was parsed and
/// dropped is no part of a run.
void release_free_memory();

/// "1.50 GiB"
std::string human_bytes(double bytes);

}  // namespace varve
