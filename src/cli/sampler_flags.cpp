#include "cli/sampler_flags.h"

#include <cstdio>

namespace varve::cli {

void SamplerFlags::add_to(CLI::App& verb) {
  verb.add_option("--temp", sampler.temperature, "Temperature; 0 takes the likeliest token")
      ->capture_default_str();
  verb.add_option("--top-k", sampler.top_k, "Keep the k likeliest tokens; 0: all");
  verb.add_option("--top-p", sampler.top_p, "Keep the likeliest tokens up to this mass");
  verb.add_option("--min-p", sampler.min_p,
                  "Keep tokens of at least this share of the likeliest one's probability");
  verb.add_option("--seed", sampler.seed, "Seed of the draws")->capture_default_str();
  verb.add_option("--logit-bias", logit_bias, "ID:BIAS, added to a token's logit");
}

Result<SamplerOptions> SamplerFlags::options() const {
  SamplerOptions options = sampler;
  for (const std::string& text : logit_bias) {
    int id = 0;
    float bias = 0;
    char end = 0;
    if (std::sscanf(text.c_str(), "%d:%f%c", &id, &bias, &end) != 2) {
      return usage_error("--logit-bias {}: expected ID:BIAS, e.g. 42:-5", text);
    }
    options.logit_bias.emplace_back(id, bias);
  }
  return options;
}

}  // namespace varve::cli
