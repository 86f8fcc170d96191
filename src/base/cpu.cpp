#include "base/cpu.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <utility>
#include <vector>

namespace varve {
namespace {

// Cores that the cgroup's quota pays for, or 0 where there is no quota.
int quota_cores() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    if (line.rfind("0::", 0) != 0) continue;
    std::ifstream file("/sys/fs/cgroup" + line.substr(3) + "/cpu.max");
    double quota = 0, period = 0;
    if (file >> quota >> period && period > 0) {
      return std::max(1, static_cast<int>(std::floor(quota / period)));
    }
  }
  return 0;
}

int within_quota(int cores) {
  const int quota = quota_cores();
  return quota > 0 ? std::min(cores, quota) : cores;
}

// Logical cores in the affinity mask; empty where the system does not say.
std::vector<int> affinity() {
  std::vector<int> cores;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<size_t>(core), &mask)) cores.push_back(core);
  }
  return cores;
}

// -1 where it is not there.
int read_id(const std::string& path) {
  int id = -1;
  std::ifstream file(path);
  return file >> id ? id : -1;
}

}  // namespace

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

int usable_cores() {
  return within_quota(std::max(1, static_cast<int>(affinity().size())));
}

int usable_physical_cores() {
  return within_quota(std::max(1, count_physical_cores("/sys/devices/system/cpu", affinity())));
}

int count_physical_cores(const std::string& cpu_directory, std::span<const int> logical) {
  std::set<std::pair<int, int>> known;  // (package, core)
  int unknown = 0;
  for (const int cpu : logical) {
    const std::string topology = cpu_directory + "/cpu" + std::to_string(cpu) + "/topology/";
    const int package = read_id(topology + "physical_package_id");
    const int core = read_id(topology + "core_id");
    if (package < 0 || core < 0) {
      ++unknown;
    } else {
      known.emplace(package, core);
    }
  }
  return static_cast<int>(known.size()) + unknown;
}

}  // namespace varve
