#include "base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace varve {
namespace {

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

// The value in bytes of a "Key:   123 kB" line of a /proc file; `otherwise` where it is missing.
size_t proc_kib(const char* path, const std::string& key, size_t otherwise) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) != 0) continue;
    std::istringstream fields(line.substr(key.size()));
    size_t kib = 0;
    if (fields >> kib) return kib * 1024;
  }
  return otherwise;
}

size_t read_number(const std::string& path, size_t otherwise) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : otherwise;  // cgroup v2 says "max" for no limit
}

size_t cgroup_left() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("0::", 0) != 0) continue;
    const std::string group = "/sys/fs/cgroup" + line.substr(3);
    const size_t limit = read_number(group + "/memory.max", kUnlimited);
    if (limit == kUnlimited) return kUnlimited;
    const size_t used = read_number(group + "/memory.current", 0);
    return limit > used ? limit - used : 0;
  }
  return kUnlimited;
}

}  // namespace

size_t available_memory_bytes() {
  return std::min(proc_kib("/proc/meminfo", "MemAvailable:", kUnlimited), cgroup_left());
}

size_t address_space_left_bytes() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const size_t used = proc_kib("/proc/self/status", "VmSize:", 0);
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

size_t peak_resident_bytes() {
  return proc_kib("/proc/self/status", "VmHWM:", 0);
}

}  // namespace varve
