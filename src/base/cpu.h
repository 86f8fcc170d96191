// What the processor is called and how many cores this process may use.
#pragma once

#include <string>

namespace varve {

/// The processor's name as the system reports it; "unknown" where it does not.
std::string cpu_name();

/// Logical cores in this process's affinity mask, cut down by a cgroup CPU quota. At least 1.
int usable_cores();

}  // namespace varve
