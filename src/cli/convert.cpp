// varve convert: a model from one file format into the other.
#include "convert/convert.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "base/memory.h"
#include "cli/progress.h"
#include "cli/unfinished.h"
#include "cli/verbs.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertFlags {
  std::string in, out;
  std::string fp8 = "bf16";
};

Result<DType> fp8_type(const std::string& name) {
  if (name == "bf16") return DType::bf16;
  if (name == "q8_0") return DType::q8_0;
  return usage_error("--fp8 {}: expected bf16 or q8_0", name);
}

// Before a large model is loaded for nothing.
Result<void> check_paths(const ConvertFlags& flags, bool to_gguf) {
  std::error_code ignored;
  if (!fs::exists(flags.in, ignored)) return bad_input("no model at {}", flags.in);
  if (fs::exists(flags.out, ignored)) {
    return usage_error("OUT {}: expected a new name, it is there already", flags.out);
  }
  if (flags.out.ends_with(".gguf") == to_gguf) return {};
  return usage_error("OUT {}: expected {}, since IN is {}", flags.out,
                     to_gguf ? "a name that ends in .gguf" : "the name of a directory",
                     to_gguf ? "a directory" : "a GGUF file");
}

// "name/", as shells complete it, is "name": what is unfinished lies beside it, not in it.
std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

void print(const std::string& out, const Conversion& done) {
  fmt::print("{}\n", out);
  for (const ConvertedTensors& one : done.tensors) {
    fmt::print("  {:<10} -> {:<12} {:>6} {:<8} {:>10}  {}\n", one.from, one.to, one.n,
               one.n == 1 ? "tensor" : "tensors", human_bytes(static_cast<double>(one.bytes)),
               one.exact ? "every value kept" : "rounded");
  }
  if (done.n_left_out > 0) {
    fmt::print("  left out: {} {} of blocks that predict further tokens\n", done.n_left_out,
               done.n_left_out == 1 ? "tensor" : "tensors");
  }
  if (!done.tokenizer.empty()) fmt::print(stderr, "varve: {}\n", done.tokenizer);
}

// Beside OUT until all is written.
Unfinished files_until_done(const std::string& out, bool to_gguf) {
  const fs::path part = out + ".part";
  if (to_gguf) return {{part.string()}, {}};
  std::vector<std::string> files;
  for (const char* const name :
       {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.part",
        "model.safetensors", "encoding/encoding_dsv4.py"}) {
    files.push_back((part / name).string());
  }
  return {std::move(files), {(part / "encoding").string(), part.string()}};
}

Result<Conversion> to_directory(const Model& model, const std::string& out,
                                const ConvertProgress& progress) {
  const GgufMetadata& metadata = *model.checkpoint().gguf();
  if (metadata.find("tokenizer.ggml.model") == nullptr) {
    return convert_to_directory(model, nullptr, out, progress);
  }
  VARVE_TRY(const GgufVocabulary vocabulary, read_vocabulary(metadata));
  return convert_to_directory(model, &vocabulary, out, progress);
}

Result<void> convert(const ConvertFlags& flags) {
  VARVE_TRY(const DType fp8, fp8_type(flags.fp8));
  std::error_code ignored;
  const bool to_gguf = fs::is_directory(flags.in, ignored);
  VARVE_CHECKED(check_paths(flags, to_gguf));
  VARVE_TRY(const std::unique_ptr<Model> model, load_convertible(flags.in));

  constexpr double kMiB = 1 << 20;
  std::optional<Progress> bar;
  const auto progress = [&](size_t done, size_t total) {
    if (!bar) bar.emplace("converting", static_cast<double>(total) / kMiB, "MiB");
    bar->update(static_cast<double>(done) / kMiB);
  };
  const std::string out = without_slashes(flags.out);
  const Unfinished unfinished = files_until_done(out, to_gguf);
  const Result<Conversion> done = to_gguf ? convert_to_gguf(*model, flags.in, out, fp8, progress)
                                          : to_directory(*model, out, progress);
  bar.reset();
  if (!done) return tl::unexpected<Error>(done.error());
  print(out, *done);
  return {};
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App* const verb =
      app.add_subcommand("convert", "Turn a DeepSeek-V4 model directory into a GGUF file, or back");
  verb->add_option("IN", flags->in, "Model directory, or GGUF file")->required();
  verb->add_option("OUT", flags->out, "GGUF file, or directory, that is not there yet")->required();
  verb->add_option("--fp8", flags->fp8,
                   "FP8 weights in a GGUF file: bf16 keeps every value,\nq8_0 rounds")
      ->capture_default_str();
  verb->callback([flags, &action] { action = [flags] { return convert(*flags); }; });
}

}  // namespace varve::cli
