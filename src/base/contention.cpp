#include "base/contention.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace varve {

Contention::Contention() : before_(times_of_threads()) {}

std::map<int, Contention::Times> Contention::times_of_threads() {
  std::map<int, Times> all;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const std::string name = task.path().filename().string();
    int id = 0;
    std::from_chars(name.data(), name.data() + name.size(), id);
    std::ifstream file(task.path() / "schedstat");
    Times times;
    if (file >> times.ran >> times.waited) all[id] = times;
  }
  return all;
}

double Contention::waited_share() const {
  double ran = 0, waited = 0;
  for (const auto& [id, now] : times_of_threads()) {
    const auto then = before_.find(id);
    ran += now.ran - (then == before_.end() ? 0 : then->second.ran);
    waited += now.waited - (then == before_.end() ? 0 : then->second.waited);
  }
  return ran + waited > 0 ? waited / (ran + waited) : 0;
}

}  // namespace varve
