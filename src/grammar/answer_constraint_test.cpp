#include "grammar/answer_constraint.h"

#include <gtest/gtest.h>

#include "grammar/test_constraint.h"

namespace varve {
namespace {

const std::string kSchema = R"({"type": "object", "properties": {"n": {"type": "integer"}},
                                "required": ["n"], "additionalProperties": false})";

class AnswerConstraintTest : public testing::Test {
 protected:
  AnswerConstraint constraint_of(const std::string& schema,
                                 std::optional<int32_t> begins_behind = {}) {
    return AnswerConstraint::create(compiled(tiny_vocabulary(), schema),
                                    {.vocab_size = tiny_vocabulary().n_ids(),
                                     .end_ids = {end_},
                                     .begins_behind = begins_behind,
                                     .piece =
                                         [this](int32_t id) {
                                           return id == end_of_thought_
                                                      ? std::string_view("</think>")
                                                      : tiny_vocabulary().tokenizer.piece(id);
                                         }})
        .value();
  }
  static std::vector<int32_t> bytes(std::string_view text) {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(tiny_vocabulary().byte_ids.at(c));
    return ids;
  }
  // Draws the id, which has to be allowed; says whether the end was.
  bool take(AnswerConstraint& constraint, int32_t id) {
    bool may_end = false;
    const auto drawn = constraint.next([&](std::span<const uint32_t> mask) {
      may_end = has_id(mask, end_);
      EXPECT_TRUE(has_id(mask, id)) << id;
      return id;
    });
    EXPECT_EQ(drawn.value(), id);
    return may_end;
  }

  const int32_t end_ = tiny_vocabulary().n_ids() - 1;
  const int32_t end_of_thought_ = tiny_vocabulary().n_ids() - 2;
};

TEST_F(AnswerConstraintTest, MayEndExactlyWhereItIsComplete) {
  AnswerConstraint constraint = constraint_of(R"({"type": "integer"})");
  EXPECT_FALSE(take(constraint, bytes("-").front()));
  EXPECT_FALSE(take(constraint, bytes("1").front()));
  EXPECT_TRUE(take(constraint, bytes("2").front()));
  EXPECT_TRUE(take(constraint, end_));
}

TEST_F(AnswerConstraintTest, IsOverWhereNothingMayFollow) {
  AnswerConstraint constraint = constraint_of(kSchema);
  for (const int32_t id : bytes("{\"n\":7}")) take(constraint, id);
  const auto drawn = constraint.next([](auto) -> int32_t {
    ADD_FAILURE() << "there is nothing to draw";
    return 0;
  });
  EXPECT_EQ(drawn.value(), std::nullopt);
}

TEST_F(AnswerConstraintTest, DrawsAgainWhereATokenDoesNotFit) {
  AnswerConstraint constraint = constraint_of(kSchema);
  int n_draws = 0;
  const auto drawn = constraint.next([&](std::span<const uint32_t>) {
    return ++n_draws == 1 ? bytes("x").front() : bytes("{").front();
  });
  EXPECT_EQ(drawn.value(), bytes("{").front());
  EXPECT_EQ(n_draws, 2);
}

TEST_F(AnswerConstraintTest, BeginsBehindAThought) {
  AnswerConstraint constraint = constraint_of(kSchema, end_of_thought_);
  for (const int32_t id : bytes("hm}")) EXPECT_FALSE(take(constraint, id));
  EXPECT_FALSE(take(constraint, end_of_thought_));
  const auto drawn = constraint.next([&](std::span<const uint32_t> mask) {
    EXPECT_FALSE(has_id(mask, bytes("h").front()));
    EXPECT_FALSE(has_id(mask, end_of_thought_));
    return bytes("{").front();
  });
  EXPECT_TRUE(drawn);
}

// Else content would begin that no grammar has seen.
TEST_F(AnswerConstraintTest, TheEndOfAThoughtIsNotSpelt) {
  AnswerConstraint constraint = constraint_of(kSchema, end_of_thought_);
  for (const int32_t id : bytes("<</think")) take(constraint, id);
  const int32_t last = bytes(">").front();
  int n_draws = 0;
  const auto drawn = constraint.next([&](std::span<const uint32_t> mask) {
    EXPECT_EQ(has_id(mask, last), n_draws == 0);
    return n_draws++ == 0 ? last : bytes("a").front();
  });
  EXPECT_EQ(drawn.value(), bytes("a").front());
  EXPECT_EQ(n_draws, 2);
  take(constraint, last);
}

TEST_F(AnswerConstraintTest, RefusesATokenThatIsNotThere) {
  const auto constraint =
      AnswerConstraint::create(compiled(tiny_vocabulary(), kSchema),
                               {.vocab_size = 10, .end_ids = {3}, .begins_behind = 10});
  ASSERT_FALSE(constraint);
  EXPECT_EQ(constraint.error().message, "the model's logits have no token 10");
}

}  // namespace
}  // namespace varve
