// What the wall lets in, what it keeps out to the byte, and that what a refusal suggests gets in.
#include "plan/wall.h"

#include <gtest/gtest.h>

#include <regex>

#include "base/rng.h"
#include "models/deepseek_v4/model.h"
#include "models/deepseek_v4/synthetic.h"
#include "plan/footprint.h"

namespace varve {
namespace {

std::unique_ptr<Model> shape_of(const std::string& name) {
  if (const auto* const preset = deepseek_v4::find_synthetic_preset(name).value_or(nullptr)) {
    return std::make_unique<deepseek_v4::DeepseekV4>(preset->config, Checkpoint(),
                                                     deepseek_v4::Weights());
  }
  auto model = load_shapes(std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json");
  EXPECT_TRUE(model) << model.error().message;
  return model ? std::move(*model) : nullptr;
}

EngineOptions native_at(int ctx_tokens) {
  EngineOptions options;
  options.ctx_tokens = ctx_tokens;
  options.n_threads = 2;
  options.products = Products::bf16;
  options.formats = PoolFormats::all(RowFormat::native);
  return options;
}

ProcessBytes beside(const Model& model) {
  return process_bytes(model, nullptr, 2);
}

TEST(Wall, OneByteLessThanThePlanIsRefused) {
  const auto model = shape_of("micro");
  EngineOptions options = native_at(1 << 14);
  options.chunk_tokens = 64;
  const ProcessBytes process = beside(*model);
  const size_t bytes = footprint(*model, options, process, SIZE_MAX)->total_bytes();
  const auto at_wall = fit_within(*model, options, process, Wall{bytes, true}, 1);
  ASSERT_TRUE(at_wall) << at_wall.error().message;
  EXPECT_EQ(at_wall->chunk_tokens, 64);
  const auto below = fit_within(*model, options, process, Wall{bytes - 1, true}, 1);
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().kind, ErrorKind::usage);
  for (const std::string& part :
       {fmt::format("--ctx 16384 needs {} bytes (", bytes), std::string(" of process)"),
        fmt::format("--memory allows {} (", bytes - 1), std::string(" would fit")}) {
    EXPECT_NE(below.error().message.find(part), std::string::npos) << below.error().message;
  }
}

TEST(Wall, NoContextBelowTheLeastIsSuggested) {
  const auto model = shape_of("micro");
  EngineOptions options = native_at(1 << 14);
  options.chunk_tokens = 1;
  options.n_threads = 1;
  const ProcessBytes process = beside(*model);
  const Wall wall{footprint(*model, options, process, SIZE_MAX)->total_bytes() - 1, true};
  const auto any = fit_within(*model, options, process, wall, 1);
  const auto none = fit_within(*model, options, process, wall, 1 << 14);
  ASSERT_FALSE(any || none);
  EXPECT_NE(any.error().message.find("--ctx 16256 would fit"), std::string::npos)
      << any.error().message;
  EXPECT_NE(none.error().message.find("nothing smaller fits either"), std::string::npos)
      << none.error().message;
}

TEST(Wall, TheKvBudgetIsNamedWhereItIsTheOneThatBinds) {
  const auto model = shape_of("micro");
  EngineOptions options = native_at(1 << 16);
  options.chunk_tokens = 64;
  const Wall wall{size_t{1} << 40, true};
  const size_t native_bytes = Engine::plan(*model, options)->arena_bytes;
  options.arena_budget_bytes = native_bytes;
  EXPECT_TRUE(fit_within(*model, options, beside(*model), wall, 1));

  options.formats.csa = RowFormat::f32;
  const size_t mixed_bytes = Engine::plan(*model, options)->arena_bytes;
  const auto refused = fit_within(*model, options, beside(*model), wall, 1);
  ASSERT_FALSE(refused);
  for (const std::string& part : {fmt::format("--ctx {} needs {} bytes", 1 << 16, mixed_bytes),
                                  fmt::format("--kv-memory allows {} (", native_bytes),
                                  std::string("--kv all=native would fit")}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  EXPECT_EQ(refused.error().message.find("--chunk"), std::string::npos) << refused.error().message;
}

// `options` with what a flag of a refusal asks for.
EngineOptions with_flag(EngineOptions options, const std::string& name, const std::string& value) {
  if (name == "ctx") options.ctx_tokens = std::stoi(value);
  if (name == "chunk") options.chunk_tokens = std::stoi(value);
  if (name == "threads") options.n_threads = std::stoi(value);
  if (name != "kv") return options;
  const std::regex item("(\\w+)=(\\w+)");
  for (std::sregex_iterator at(value.begin(), value.end(), item), end; at != end; ++at) {
    const RowFormat format = *row_format_from_name((*at)[2].str());
    const std::string pool = (*at)[1].str();
    for (const PoolInfo& info : pools()) {
      if (pool == "all" || pool == info.name) {
        options.formats.*(info.format) = PoolFormats::all(format).of(info.pool);
      }
    }
  }
  return options;
}

TEST(Wall, EveryWayThatARefusalSuggestsFits) {
  Rng rng(7);
  const std::regex flag("--(ctx|chunk|kv|threads) ([\\w=,]+)");
  int n_refused = 0, n_ways = 0;
  for (const char* const name :
       {"micro", "flash-6l", "qwen3-8b", "llama-3.1-8b", "deepseek-v3.2"}) {
    const auto model = shape_of(name);
    ASSERT_TRUE(model);
    const ProcessBytes process = beside(*model);
    const size_t least = model->weight_bytes() + model->vector_bytes() + process.total();
    for (int i = 0; i < 8; ++i) {
      EngineOptions options = native_at(std::min(1 << (8 + rng.below(9)), model->max_position()));
      if (rng.below(2) == 0) options.formats = PoolFormats::all(RowFormat::f32);
      if (rng.below(2) == 0) options.chunk_tokens = 1 << rng.below(12);
      // What the machine of the test has does not matter.
      const Wall wall{least + (size_t{1} << (20 + rng.below(12))), true};
      const auto fits = [&](const EngineOptions& some) {
        const auto taken = footprint(*model, some, process, wall.memory_bytes);
        return taken && taken->total_bytes() <= wall.memory_bytes;
      };
      const auto done = fit_within(*model, options, process, wall, 1);
      if (done) {
        EXPECT_TRUE(fits(options)) << name;
        continue;
      }
      const std::string message = done.error().message;
      ++n_refused;
      if (message.find("the machine has") == std::string::npos) {
        EXPECT_FALSE(fits(options)) << name << message;
      }
      for (std::sregex_iterator
               at(message.begin() + static_cast<std::ptrdiff_t>(message.rfind(';')), message.end(),
                  flag),
           end;
           at != end; ++at) {
        ++n_ways;
        EXPECT_TRUE(fits(with_flag(options, (*at)[1].str(), (*at)[2].str()))) << message;
      }
    }
  }
  EXPECT_GE(n_refused, 5);
  EXPECT_GE(n_ways, 5);
}

TEST(Wall, Parse) {
  EXPECT_EQ(Wall::parse("8G")->memory_bytes, size_t{8} << 30);
  EXPECT_TRUE(Wall::parse("8G")->is_named);
  const auto free = Wall::parse("auto");
  ASSERT_TRUE(free);
  EXPECT_FALSE(free->is_named);
  EXPECT_GT(free->memory_bytes, 0u);
  EXPECT_FALSE(Wall::parse("8Q"));
}

}  // namespace
}  // namespace varve
