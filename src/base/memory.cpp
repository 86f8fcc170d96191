#include "base/memory.h"

#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
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

// The value of a "key 123" line of a cgroup's memory.stat; 0 where it is missing.
size_t stat_value(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string name;
  size_t value = 0;
  while (file >> name >> value) {
    if (name == key) return value;
  }
  return 0;
}

// What one cgroup leaves. Pages of files (mapped weights above all) are charged to it and can be
// taken back at any time: they do not count as used.
size_t left_in(const std::string& group, const char* limit_file, const char* usage_file) {
  const size_t limit = read_number(group + limit_file, kUnlimited);
  if (limit == kUnlimited) return kUnlimited;
  const std::string stat = group + "/memory.stat";
  const size_t charged = read_number(group + usage_file, 0);
  const size_t files = stat_value(stat, "inactive_file") + stat_value(stat, "active_file");
  const size_t used = charged > files ? charged - files : 0;
  return limit > used ? limit - used : 0;
}

// The least that this process's cgroup and those above it leave, in version 2 or version 1.
size_t cgroup_left() {
  size_t least = kUnlimited;
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const bool v2 = line.rfind("0::", 0) == 0;
    const size_t v1_at = line.find(":memory:");
    if (!v2 && v1_at == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    std::string group = line.substr(v2 ? 3 : v1_at + 8);
    while (true) {
      least = std::min(
          least, v2 ? left_in(root + group, "/memory.max", "/memory.current")
                    : left_in(root + group, "/memory.limit_in_bytes", "/memory.usage_in_bytes"));
      const size_t slash = group.rfind('/');
      if (slash == std::string::npos || group.size() <= 1) break;
      group.erase(slash == 0 ? 1 : slash);
    }
  }
  return least;
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

size_t thread_stack_bytes() {
  constexpr size_t kUsual = size_t{8} << 20;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return kUsual;
  size_t bytes = kUsual;
  pthread_attr_getstacksize(&attributes, &bytes);
  pthread_attr_destroy(&attributes);
  return bytes;
}

size_t private_resident_bytes() {
  return proc_kib("/proc/self/smaps_rollup", "Anonymous:", 0);
}

size_t peak_resident_bytes() {
  return proc_kib("/proc/self/status", "VmHWM:", 0);
}

void release_free_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[unit]);
}

}  // namespace varve
