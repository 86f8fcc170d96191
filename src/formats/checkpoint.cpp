#include "formats/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <system_error>
#include <utility>

#include "formats/gguf.h"
#include "formats/gguf_split.h"
#include "formats/gguf_types.h"
#include "formats/json_reader.h"

namespace varve {
namespace {

constexpr std::string_view kSingleName = "model.safetensors";

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string join(const std::string& directory, std::string_view name) {
  return (std::filesystem::path(directory) / name).string();
}

bool is_gguf_file(const MappedFile& file, const std::string& path) {
  return is_gguf(file.bytes()) || path.ends_with(".gguf");
}

template <class T>
auto lower_bound_by_name(const std::vector<T>& sorted, std::string_view name) {
  return std::lower_bound(sorted.begin(), sorted.end(), name,
                          [](const T& item, std::string_view n) { return item.name < n; });
}

template <class T>
const T* find_by_name(const std::vector<T>& sorted, std::string_view name) {
  const auto at = lower_bound_by_name(sorted, name);
  return at == sorted.end() || at->name != name ? nullptr : &*at;
}

template <class T>
void append(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

// Nothing of the file is read any more from where its first tensor lies.
Result<void> forget_values(MappedFile& map, const std::vector<TensorView>& tensors,
                           const std::string& path) {
  const std::byte* first = map.bytes().data() + map.bytes().size();
  for (const TensorView& tensor : tensors) {
    if (!tensor.bytes.empty()) first = std::min(first, tensor.bytes.data());
  }
  return map.forget_after(static_cast<size_t>(first - map.bytes().data()), path);
}

}  // namespace

// As long as its header says, where that is all that is read.
Result<MappedFile> Checkpoint::map(const std::string& path) const {
  VARVE_TRY(MappedFile map, MappedFile::open(path));
  if (has_values()) return map;
  VARVE_TRY(const uint64_t whole_bytes, is_gguf_file(map, path)
                                            ? gguf_file_bytes(map.bytes(), path)
                                            : safetensors_file_bytes(map.bytes(), path));
  if (whole_bytes <= map.bytes().size()) return map;
  return MappedFile::open(path, whole_bytes);
}

Result<void> Checkpoint::open_file(const std::string& path) {
  VARVE_TRY(MappedFile file, map(path));
  if (is_gguf_file(file, path)) return add_gguf(path, std::move(file));
  return add_safetensors(path, std::move(file));
}

Result<void> Checkpoint::add_safetensors(const std::string& path, MappedFile map) {
  VARVE_TRY(SafetensorsFile parsed, parse_safetensors(map.bytes(), path));
  if (!has_values()) VARVE_CHECKED(forget_values(map, parsed.tensors, path));
  append(tensors_, std::move(parsed.tensors));
  append(unread_, std::move(parsed.unread));
  metadata_.merge(parsed.metadata);
  maps_.push_back(std::move(map));
  paths_.push_back(path);
  return {};
}

Result<GgufMetadata> Checkpoint::add_gguf_part(const std::string& path, MappedFile map) {
  VARVE_TRY(GgufFile parsed, parse_gguf(map.bytes(), path));
  if (!has_values()) VARVE_CHECKED(forget_values(map, parsed.tensors, path));
  append(tensors_, std::move(parsed.tensors));
  append(unread_, std::move(parsed.unread));
  maps_.push_back(std::move(map));
  paths_.push_back(path);
  return std::move(parsed.metadata);
}

Result<void> Checkpoint::add_gguf(const std::string& first_path, MappedFile first) {
  VARVE_TRY(gguf_, add_gguf_part(first_path, std::move(first)));
  VARVE_TRY(const GgufSplit split, read_gguf_split(*gguf_));
  if (split.n_parts == 1) return {};
  for (int part = 0; part < split.n_parts; ++part) {
    VARVE_TRY(const std::string path, gguf_part_path(first_path, part, split.n_parts));
    GgufSplit found = split;
    if (part > 0) {
      if (!exists(path)) {
        return bad_input("{}: expected part {} of {}{} beside it, found no {}", first_path,
                         part + 1, split.n_parts, has_values() ? "" : " (or its header)", path);
      }
      VARVE_TRY(MappedFile file, map(path));
      VARVE_TRY(const GgufMetadata metadata, add_gguf_part(path, std::move(file)));
      VARVE_TRY(found, read_gguf_split(metadata));
    }
    if (found.part != part || found.n_parts != split.n_parts) {
      return bad_input(
          "{}: expected part {} of {}, found part {} of {} (`split.no`, `split.count`)", path,
          part + 1, split.n_parts, found.part + 1, found.n_parts);
    }
  }
  VARVE_CHECKED(sort_by_name());
  const auto n_tensors = static_cast<int64_t>(tensors_.size() + unread_.size());
  if (n_tensors != split.n_tensors) {
    return gguf_->wrong("split.tensors.count",
                        fmt::format("{}, as many as all parts have together", n_tensors));
  }
  return {};
}

Result<void> Checkpoint::sort_by_name() {
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::sort(tensors_.begin(), tensors_.end(), by_name);
  std::sort(unread_.begin(), unread_.end(), by_name);
  const auto in_both = [this](const std::string& name, const std::string& a, const std::string& b) {
    return bad_input("{}: expected tensor {} in one file, found it in {} and {}", path_,
                     in_quotes(name), a, b);
  };
  for (size_t i = 1; i < tensors_.size(); ++i) {
    if (tensors_[i].name == tensors_[i - 1].name) {
      return in_both(tensors_[i].name, tensors_[i - 1].file, tensors_[i].file);
    }
  }
  for (size_t i = 0; i < unread_.size(); ++i) {
    if (i > 0 && unread_[i].name == unread_[i - 1].name) {
      return in_both(unread_[i].name, unread_[i - 1].file, unread_[i].file);
    }
    if (const TensorView* const other = find_by_name(tensors_, unread_[i].name)) {
      return in_both(unread_[i].name, other->file, unread_[i].file);
    }
  }
  return {};
}

Result<void> Checkpoint::add_shards(const std::string& index_path, const std::string& directory) {
  VARVE_TRY(const SafetensorsIndex index, SafetensorsIndex::read(index_path));
  const std::vector<std::string>&names = index.names(), &shards = index.shards();
  std::map<std::string, size_t> first_tensor;  // of each shard, for messages
  for (size_t i = 0; i < names.size(); ++i) first_tensor.emplace(shards[i], i);
  for (const auto& [shard, i] : first_tensor) {
    if (!exists(join(directory, shard))) {
      return bad_input("{}: tensor {}: expected it in shard {}, found no such file", index_path,
                       in_quotes(names[i]), in_quotes(shard));
    }
  }
  for (const auto& [shard, i] : first_tensor) {
    const std::string path = join(directory, shard);
    VARVE_TRY(MappedFile file, map(path));
    VARVE_CHECKED(add_safetensors(path, std::move(file)));
  }
  VARVE_CHECKED(sort_by_name());
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string expected = join(directory, shards[i]);
    const TensorView* const view = find(names[i]);
    const UnreadTensor* const unread = find_by_name(unread_, names[i]);
    const std::string* const found =
        view != nullptr ? &view->file : (unread != nullptr ? &unread->file : nullptr);
    if (found == nullptr || *found != expected) {
      return bad_input("{}: tensor {}: expected it in shard {}, found it in {}", index_path,
                       in_quotes(names[i]), in_quotes(shards[i]),
                       found == nullptr ? "none" : *found);
    }
  }
  return {};
}

Result<Checkpoint> Checkpoint::open(const std::string& path, Read read) {
  Checkpoint checkpoint;
  checkpoint.read_ = read;
  checkpoint.path_ = path;
  try {
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) {
      VARVE_CHECKED(checkpoint.open_file(path));
      return checkpoint;
    }
    const std::string index_path = join(path, kSafetensorsIndexName);
    const std::string single_path = join(path, kSingleName);
    if (exists(index_path)) {
      VARVE_CHECKED(checkpoint.add_shards(index_path, path));
    } else if (exists(single_path)) {
      VARVE_CHECKED(checkpoint.open_file(single_path));
    } else {
      return bad_input("{}: expected {} or {} in this directory, found neither", path,
                       kSafetensorsIndexName, kSingleName);
    }
    return checkpoint;
  } catch (const std::exception& error) {
    return fail(ErrorKind::internal, "cannot open {}: {}", path, error.what());
  }
}

const TensorView* Checkpoint::find(std::string_view name) const {
  return find_by_name(tensors_, name);
}

Result<const TensorView*> Checkpoint::get(std::string_view name) const {
  if (const TensorView* const view = find(name)) return view;
  if (const UnreadTensor* const unread = find_by_name(unread_, name)) {
    return bad_input("{}: tensor {}: `dtype`: expected one of {}, found {}", unread->file,
                     in_quotes(name), gguf_ ? readable_gguf_types() : readable_dtypes(),
                     unread->dtype);
  }
  return bad_input("{}: expected tensor {}, it is missing", path_, in_quotes(name));
}

Result<void> Checkpoint::replace_by_copy(const std::function<void(size_t)>& progress) {
  for (size_t i = 0; i < maps_.size(); ++i) {
    VARVE_CHECKED(maps_[i].replace_by_copy(paths_[i], progress));
  }
  return {};
}

size_t Checkpoint::mapped_bytes() const {
  size_t total = 0;
  for (const MappedFile& map : maps_) total += map.bytes().size();
  return total;
}

size_t Checkpoint::copied_bytes() const {
  size_t total = 0;
  for (const MappedFile& map : maps_) total += map.is_copy() ? map.bytes().size() : 0;
  return total;
}

size_t Checkpoint::table_bytes() const {
  size_t total = tensors_.capacity() * sizeof(TensorView);
  for (const TensorView& tensor : tensors_) {
    total +=
        tensor.name.capacity() + tensor.file.capacity() + tensor.shape.capacity() * sizeof(int64_t);
  }
  if (!gguf_) return total;
  for (const GgufMetadata::Entry& entry : gguf_->entries()) {
    total += sizeof(entry) + entry.value.strings.capacity() * sizeof(std::string_view);
  }
  return total;
}

std::vector<std::span<const std::byte>> Checkpoint::mapped_ranges() const {
  std::vector<std::span<const std::byte>> ranges;
  ranges.reserve(maps_.size());
  for (const MappedFile& map : maps_) ranges.push_back(map.bytes());
  return ranges;
}

bool has_checkpoint(const std::string& directory) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; at != end && !error;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")) return true;
  }
  return false;
}

Result<CheckpointOutline> open_outline(const std::string& directory) {
  CheckpointOutline out;
  if (!has_checkpoint(directory)) return out;
  const std::string index_path = join(directory, kSafetensorsIndexName);
  if (exists(index_path)) {
    VARVE_TRY(out.index, SafetensorsIndex::read(index_path));
    const std::vector<std::string>& shards = out.index->shards();
    const bool alone = std::none_of(shards.begin(), shards.end(), [&](const std::string& shard) {
      return exists(join(directory, shard));
    });
    if (alone) return out;
    out.index.reset();
  }
  VARVE_TRY(out.checkpoint, Checkpoint::open(directory, Read::headers));
  return out;
}

}  // namespace varve
