// What the processor is called and how many cores this process may use.
#pragma once

#include <span>
#include <string>

namespace varve {

/// The processor's name as the system reports it; "unknown" where it does not.
std::string cpu_name();

/// Logical cores in this process's affinity mask, cut down by a cgroup CPU quota. At least 1.
int usable_cores();

/// Physical cores that have a logical one in the affinity mask, cut down likewise. At least 1; as
/// many as usable_cores() where the system does not say which logical cores share one.
int usable_physical_cores();

/// Physical cores among these logical ones, by directories like /sys/devices/system/cpu. A logical
/// core whose topology is not there counts as one of its own.
int count_physical_cores(const std::string& cpu_directory, std::span<const int> logical);

}  // namespace varve
