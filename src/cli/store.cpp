// varve store: what lies in a store on disk, whether it is whole, and what of it may go.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/memory.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "plan/machine.h"
#include "store/maintenance.h"

namespace varve::cli {
namespace {

using nlohmann::ordered_json;

struct StoreFlags {
  std::string directory;
  bool json = false;
  bool entries = false;
  std::string model;
  std::string key;
  std::string budget;
  bool all = false;
};

constexpr size_t kShown = 12;  // digits of a key or fingerprint in tables
constexpr size_t kProblemsShown = 20;

std::string bytes_text(uint64_t n) {
  return human_bytes(static_cast<double>(n));
}

std::string cut(const std::string& text, size_t n) {
  return text.size() <= n ? text : text.substr(0, n - 3) + "...";
}

// What opening found to be damaged goes to the error stream of every verb.
Result<StoreFiles> open(const StoreFlags& flags) {
  VARVE_TRY(StoreFiles files, open_store_files(flags.directory, StoreDirectory::Missing::refuse,
                                               kMaintenanceBufferBytes));
  for (const std::string& note : files.notes) fmt::print(stderr, "varve: {}\n", note);
  return files;
}

std::string description_of(const StoreFiles& files, const Digest& fingerprint) {
  const auto found = std::find_if(files.models.begin(), files.models.end(), [&](const auto& model) {
    return model.fingerprint == fingerprint;
  });
  return found == files.models.end() ? "" : found->description;
}

struct ModelSum {
  uint64_t blocks = 0;
  uint64_t points = 0;
  uint64_t tokens = 0;  // of blocks
  uint64_t bytes = 0;
  uint64_t last_use_us = 0;
  uint64_t other_versions = 0;
};

std::map<Digest, ModelSum> sums_by_model(const StoreFiles& files) {
  std::map<Digest, ModelSum> sums;
  files.index.for_each([&](const StoreIndex::Entry& entry) {
    ModelSum& sum = sums[files.index.fingerprint(entry.model)];
    const bool is_block = entry.key().kind == StoredKind::block;
    ++(is_block ? sum.blocks : sum.points);
    if (is_block) sum.tokens += entry.n_ids;
    sum.bytes += entry.value_bytes;
    sum.last_use_us = std::max(sum.last_use_us, entry.last_use_us);
    if (entry.version != kStoreVersion) ++sum.other_versions;
  });
  return sums;
}

// The models whose fingerprints begin with the prefix. Errors: usage: none, or several.
Result<Digest> model_with(const StoreFiles& files, const std::string& prefix) {
  std::vector<Digest> found;
  for (const auto& [fingerprint, sum] : sums_by_model(files)) {
    if (hex(fingerprint).starts_with(prefix)) found.push_back(fingerprint);
  }
  if (found.size() == 1) return found.front();
  return usage_error(
      "--model {}: expected the beginning of one model's fingerprint, found {} "
      "(`varve store ls` lists them)",
      prefix, found.empty() ? "none with it" : "several with it");
}

std::string time_text(uint64_t us) {
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(us / 1'000'000)));
}

// ---- ls ----

std::vector<const StoreIndex::Entry*> entries_of(const StoreFiles& files,
                                                 const std::optional<Digest>& model) {
  std::vector<const StoreIndex::Entry*> entries;
  files.index.for_each([&](const StoreIndex::Entry& entry) {
    if (!model || files.index.fingerprint(entry.model) == *model) entries.push_back(&entry);
  });
  std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
    return a->last_use_us != b->last_use_us ? a->last_use_us > b->last_use_us
                                            : a->key().digest < b->key().digest;
  });
  return entries;
}

void print_entries(const StoreFiles& files, const std::vector<const StoreIndex::Entry*>& entries) {
  fmt::print("{:<6} {:<12} {:<12} {:>6} {:>11} {:>6}  {}\n", "kind", "key", "after", "ids", "bytes",
             "reuse", "last use");
  for (const StoreIndex::Entry* const entry : entries) {
    const ValueRecord record = files.index.record(*entry);
    fmt::print("{:<6} {:<12} {:<12} {:>6} {:>11} {:>6}  {}\n", kind_name(record.kind),
               hex(entry->key().digest).substr(0, kShown), hex(record.parent).substr(0, kShown),
               record.n_ids, bytes_text(record.value_bytes), record.reuse,
               time_text(record.last_use_us));
  }
}

void print_models(const StoreFiles& files) {
  fmt::print("{:<12} {:<28} {:>7} {:>7} {:>9} {:>11}\n", "model", "what", "blocks", "points",
             "tokens", "bytes");
  for (const auto& [fingerprint, sum] : sums_by_model(files)) {
    fmt::print("{:<12} {:<28} {:>7} {:>7} {:>9} {:>11}\n", hex(fingerprint).substr(0, kShown),
               cut(description_of(files, fingerprint), 28), sum.blocks, sum.points, sum.tokens,
               bytes_text(sum.bytes));
  }
}

ordered_json models_object(const StoreFiles& files) {
  ordered_json models = ordered_json::array();
  for (const auto& [fingerprint, sum] : sums_by_model(files)) {
    models.push_back({{"fingerprint", hex(fingerprint)},
                      {"description", description_of(files, fingerprint)},
                      {"blocks", sum.blocks},
                      {"points", sum.points},
                      {"tokens", sum.tokens},
                      {"bytes", sum.bytes},
                      {"other_versions", sum.other_versions},
                      {"last_use_us", sum.last_use_us}});
  }
  return models;
}

void print_json(const ordered_json& object) {
  // A description is any bytes.
  fmt::print("{}\n", object.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

ordered_json entries_object(const StoreFiles& files,
                            const std::vector<const StoreIndex::Entry*>& entries) {
  ordered_json list = ordered_json::array();
  for (const StoreIndex::Entry* const entry : entries) {
    const ValueRecord record = files.index.record(*entry);
    list.push_back({{"kind", kind_name(record.kind)},
                    {"key", hex(entry->key().digest)},
                    {"parent", hex(record.parent)},
                    {"model", hex(record.fingerprint)},
                    {"version", record.version},
                    {"ids", record.n_ids},
                    {"bytes", record.value_bytes},
                    {"reuse", record.reuse},
                    {"last_use_us", record.last_use_us}});
  }
  return list;
}

Result<void> list(const StoreFlags& flags) {
  VARVE_TRY(const StoreFiles files, open(flags));
  std::optional<Digest> model;
  if (!flags.model.empty()) {
    VARVE_TRY(model, model_with(files, flags.model));
  }
  const bool wants_entries = flags.entries || model;
  const auto entries =
      wants_entries ? entries_of(files, model) : std::vector<const StoreIndex::Entry*>();
  if (flags.json) {
    ordered_json out = {{"schema", "varve.store.ls/1"}, {"models", models_object(files)}};
    if (wants_entries) out["entries"] = entries_object(files, entries);
    print_json(out);
  } else if (wants_entries) {
    print_entries(files, entries);
  } else {
    print_models(files);
  }
  return {};
}

// ---- stat ----

Result<void> stat(const StoreFlags& flags) {
  VARVE_TRY(const StoreFiles files, open(flags));
  const StoreIndex::Totals& totals = files.index.totals();
  const uint64_t disk = directory_bytes(flags.directory);
  const uint64_t garbage = files.database->garbage_bytes();
  const std::vector<std::string> set_aside = files.directory.set_aside();
  uint64_t set_aside_bytes = 0;
  for (const std::string& path : set_aside) set_aside_bytes += directory_bytes(path);
  const auto models = sums_by_model(files);
  uint64_t other_versions = 0;
  for (const auto& [fingerprint, sum] : models) other_versions += sum.other_versions;
  if (flags.json) {
    print_json({{"schema", "varve.store.stat/1"},
                {"directory", flags.directory},
                {"models", models.size()},
                {"blocks", totals.blocks},
                {"points", totals.points},
                {"value_bytes", totals.bytes},
                {"other_versions", other_versions},
                {"disk_bytes", disk},
                {"removed_bytes", garbage},
                {"set_aside", set_aside.size()},
                {"set_aside_bytes", set_aside_bytes}});
    return {};
  }
  const auto row = [](std::string_view label, const std::string& text) {
    fmt::print("  {:<26}{}\n", label, text);
  };
  fmt::print("{}\n", flags.directory);
  row("models", fmt::format("{}", models.size()));
  row("blocks of 128 tokens", fmt::format("{}", totals.blocks));
  row("resume points", fmt::format("{}", totals.points));
  row("bytes of those", bytes_text(totals.bytes));
  if (other_versions > 0) {
    row("of other versions", fmt::format("{} (this varve cannot read them)", other_versions));
  }
  row("files", bytes_text(disk));
  row("  removed, not yet freed", fmt::format("{} (`varve store gc`)", bytes_text(garbage)));
  row("  damaged, set aside",
      fmt::format("{} in {}", bytes_text(set_aside_bytes), set_aside.size()));
  return {};
}

// ---- verify ----

Result<void> verify(const StoreFlags& flags) {
  VARVE_TRY(StoreFiles files, open(flags));
  constexpr double kMiB = 1 << 20;
  const auto total = static_cast<double>(files.index.totals().bytes) / kMiB;
  std::optional<Progress> bar;
  bar.emplace("verifying", total, "MiB");
  const Verification found =
      varve::verify(files, [&](uint64_t bytes) { bar->update(static_cast<double>(bytes) / kMiB); });
  bar.reset();
  if (flags.json) {
    ordered_json problems = ordered_json::array();
    for (const auto& problem : found.problems) {
      problems.push_back({{"kind", kind_name(problem.key.kind)},
                          {"key", hex(problem.key.digest)},
                          {"reason", miss_name(problem.reason)}});
    }
    print_json({{"schema", "varve.store.verify/1"},
                {"values", found.values},
                {"bytes", found.bytes},
                {"other_versions", found.other_versions},
                {"problems", problems}});
  } else {
    fmt::print("{} values read, {}\n", found.values - found.other_versions,
               bytes_text(found.bytes));
    for (size_t i = 0; i < std::min(kProblemsShown, found.problems.size()); ++i) {
      const auto& problem = found.problems[i];
      fmt::print("  {} {}: {}\n", kind_name(problem.key.kind), hex(problem.key.digest),
                 miss_name(problem.reason));
    }
    if (found.problems.size() > kProblemsShown) {
      fmt::print("  and {} more (--json lists them)\n", found.problems.size() - kProblemsShown);
    }
  }
  const bool lost_all = std::any_of(files.notes.begin(), files.notes.end(), [](const auto& note) {
    return note.find("was damaged") != std::string::npos;
  });
  if (!found.problems.empty()) {
    return bad_input("{}: {} of {} values are damaged; a run drops each when it comes to it",
                     flags.directory, found.problems.size(), found.values);
  }
  if (lost_all) return bad_input("{}: its database was damaged", flags.directory);
  return {};
}

// ---- gc, rm ----

Result<void> print_change(const StoreFlags& flags, std::string_view schema, uint64_t removed,
                          uint64_t taken_over, uint64_t before) {
  const uint64_t after = directory_bytes(flags.directory);
  if (flags.json) {
    print_json({{"schema", schema},
                {"removed", removed},
                {"taken_over", taken_over},
                {"disk_bytes_before", before},
                {"disk_bytes", after}});
    return {};
  }
  if (taken_over > 0) fmt::print("{} values taken out of damaged databases\n", taken_over);
  fmt::print("{} values removed; files: {}, before {}\n", removed, bytes_text(after),
             bytes_text(before));
  return {};
}

Result<void> collect(const StoreFlags& flags) {
  uint64_t budget = UINT64_MAX;
  if (!flags.budget.empty()) {
    VARVE_TRY(budget, parse_bytes("--budget", flags.budget));
  }
  VARVE_TRY(StoreFiles files, open(flags));
  const uint64_t before = directory_bytes(flags.directory);
  VARVE_TRY(const uint64_t taken_over, take_over(files));
  std::vector<EntryKey> unreadable = files.damaged;
  files.index.for_each([&](const StoreIndex::Entry& entry) {
    if (entry.version != kStoreVersion) unreadable.push_back(entry.key());
  });
  VARVE_TRY(uint64_t removed, remove_trees(files, unreadable));
  VARVE_TRY(const uint64_t evicted, evict_down_to(files, budget));
  removed += evicted;
  VARVE_CHECKED(shrink(files));
  return print_change(flags, "varve.store.gc/1", removed, taken_over, before);
}

// Errors: usage: not exactly one key has the prefix.
Result<EntryKey> entry_with(const StoreFiles& files, const std::string& prefix) {
  std::vector<EntryKey> found;
  files.index.for_each([&](const StoreIndex::Entry& entry) {
    if (hex(entry.key().digest).starts_with(prefix)) found.push_back(entry.key());
  });
  if (found.size() == 1) return found.front();
  return usage_error(
      "--key {}: expected the beginning of one key, found {} with it (`varve store ls --entries` "
      "lists them)",
      prefix, found.size());
}

Result<std::vector<EntryKey>> chosen(const StoreFlags& flags, const StoreFiles& files) {
  std::vector<EntryKey> keys;
  if (!flags.key.empty()) {
    VARVE_TRY(const EntryKey key, entry_with(files, flags.key));
    return std::vector{key};
  }
  VARVE_TRY(const Digest model, model_with(files, flags.model));
  for (const StoreIndex::Entry* const entry : entries_of(files, model)) {
    keys.push_back(entry->key());
  }
  return keys;
}

Result<void> remove(const StoreFlags& flags) {
  const int n_asked =
      (flags.model.empty() ? 0 : 1) + (flags.key.empty() ? 0 : 1) + (flags.all ? 1 : 0);
  if (n_asked != 1) {
    return usage_error("store rm: expected one of --model, --key and --all, found {}", n_asked);
  }
  if (flags.all) {
    VARVE_TRY(StoreDirectory directory,
              StoreDirectory::open(flags.directory, StoreDirectory::Missing::refuse));
    const uint64_t before = directory_bytes(flags.directory);
    VARVE_CHECKED(directory.remove_all());
    if (flags.json) {
      print_json({{"schema", "varve.store.rm/1"},
                  {"disk_bytes_before", before},
                  {"disk_bytes", directory_bytes(flags.directory)}});
    } else {
      fmt::print("{}: removed, {}\n", flags.directory, bytes_text(before));
    }
    return {};
  }
  VARVE_TRY(StoreFiles files, open(flags));
  const uint64_t before = directory_bytes(flags.directory);
  VARVE_TRY(const std::vector<EntryKey> keys, chosen(flags, files));
  VARVE_TRY(const uint64_t removed, remove_trees(files, keys));
  VARVE_CHECKED(shrink(files));
  return print_change(flags, "varve.store.rm/1", removed, 0, before);
}

}  // namespace

void add_store(CLI::App& app, Action& action) {
  auto flags = std::make_shared<StoreFlags>();
  CLI::App* const verb =
      app.add_subcommand("store", "Look through, check and shrink a store of cached contexts");
  verb->require_subcommand(1);
  verb->footer(
      "A store keeps what a model's cache held (blocks of 128 tokens, and the points\n"
      "that sessions go on from), so that no run reads the same text twice. What is\n"
      "damaged in it is found by checksums, dropped and computed again: a store can\n"
      "cost time, never an answer. One process at a time uses it.");
  const auto add = [&](const char* name, const char* what, Result<void> (*run)(const StoreFlags&)) {
    CLI::App* const part = verb->add_subcommand(name, what);
    part->add_option("DIR", flags->directory, "The store's directory")->required();
    part->add_flag("--json", flags->json, "For programs");
    part->callback([flags, run, &action] { action = [flags, run] { return run(*flags); }; });
    return part;
  };
  CLI::App* const ls = add("ls", "The models whose contexts lie in it, or each value", list);
  ls->add_flag("--entries", flags->entries, "Each block and resume point, the newest first");
  ls->add_option("--model", flags->model, "Those of one model: the beginning of its name in ls");
  add("stat", "What it holds and takes", stat);
  add("verify", "Read every value and check it; exit code 3 if one is damaged", verify);
  CLI::App* const gc = add("gc",
                           "Free the room of what was removed, and of damaged databases\n"
                           "after taking out what is whole",
                           collect);
  gc->add_option("--budget", flags->budget,
                 "Evict what is worth least until values take\nat most this, e.g. 20G");
  CLI::App* const rm = add("rm",
                           "Remove a model's contexts, one block with all that follows it,\n"
                           "or the store",
                           remove);
  rm->add_option("--model", flags->model, "The beginning of the model's name in ls");
  rm->add_option("--key", flags->key, "The beginning of the block's key in ls --entries");
  rm->add_flag("--all", flags->all, "The store as a whole");
}

}  // namespace varve::cli
