#include "chat/answer_memory.h"

#include <utility>

namespace varve {

size_t AnswerMemory::bytes_of(const Answer& answer) {
  return answer.turn.n_bytes() + answer.raw.text.size() + sizeof answer;
}

void AnswerMemory::forget(Answers::iterator answer) {
  n_bytes_ -= bytes_of(*answer);
  by_first_id_.erase(answer->turn.ids.front());
  answers_.erase(answer);
}

void AnswerMemory::remember(const std::vector<AnswerEvent>& events, RawAnswer raw) {
  Answer answer = {said_turn(answer_message(events)), std::move(raw)};
  if (answer.turn.ids.empty() || bytes_of(answer) > limits_.n_bytes || limits_.n_answers == 0) {
    return;
  }
  const std::lock_guard lock(mutex_);
  const auto same_id = by_first_id_.find(answer.turn.ids.front());
  if (same_id != by_first_id_.end()) forget(same_id->second);
  n_bytes_ += bytes_of(answer);
  answers_.push_front(std::move(answer));
  by_first_id_.emplace(answers_.front().turn.ids.front(), answers_.begin());
  while (answers_.size() > limits_.n_answers || n_bytes_ > limits_.n_bytes) {
    forget(std::prev(answers_.end()));
  }
}

void AnswerMemory::recall(ChatRequest& request) {
  for (size_t i = 0; i < request.messages.size(); ++i) {
    const SaidTurn turn = said_turn(request.messages[i]);
    if (turn.ids.empty()) continue;
    const std::lock_guard lock(mutex_);
    const auto found = by_first_id_.find(turn.ids.front());
    if (found == by_first_id_.end()) continue;
    const Answer& answer = *found->second;
    const bool is_same = answer.turn.ids == turn.ids && answer.turn.has_words_of(turn) &&
                         (turn.reasoning.empty() || answer.turn.reasoning == turn.reasoning);
    if (!is_same) continue;
    request.raw_answers[i] = answer.raw;
    answers_.splice(answers_.begin(), answers_, found->second);
  }
}

size_t AnswerMemory::n_answers() const {
  const std::lock_guard lock(mutex_);
  return answers_.size();
}

}  // namespace varve
