#include "scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace argus {

namespace {

constexpr std::uint64_t kSteady = 10;  // gaps, from which on their spread is known
constexpr double kLongestGap = 4.0;    // of the usual; a longer pause says nothing about the frame rate

void require(bool condition, const char* message) {
    if (!condition) {
        throw std::invalid_argument(message);
    }
}

}  // namespace

Scheduler::Scheduler(std::vector<StageSpec> stages, std::vector<TaskSpec> tasks)
    : stages_(std::move(stages)),
      tasks_(std::move(tasks)),
      costs_(stages_.size()),
      task_counts_(tasks_.size()),
      missed_(tasks_.size()) {
    require(!stages_.empty() && !tasks_.empty(), "there must be stages and tasks");
    for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
        std::vector<bool> needed(stage + 1);
        needed[stage] = true;
        for (std::size_t need : stages_[stage].needs) {
            require(need < stage, "a stage needs stages before it");
            for (std::size_t each : chains_[need]) {
                needed[each] = true;
            }
        }
        std::vector<std::size_t> chain;
        for (std::size_t each = 0; each <= stage; ++each) {
            if (needed[each]) {
                chain.push_back(each);
            }
        }
        chains_.push_back(std::move(chain));
    }
    for (const TaskSpec& task : tasks_) {
        require(task.stage < stages_.size(), "a task is answered by a stage");
        require(task.rate >= 0 && std::isfinite(task.rate), "a rate is 0 or more");
        require(task.deadline > 0, "a deadline is more than 0");
    }
    settle_order();
}

void Scheduler::settle_order() {
    order_.resize(tasks_.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [this](std::size_t one, std::size_t other) {
        return tasks_[one].priority > tasks_[other].priority;
    });
}

StreamId Scheduler::open_stream(std::size_t room, Overflow overflow) {
    require(room > 0, "at least one frame must have room");
    Stream stream;
    stream.room = room;
    stream.overflow = overflow;
    stream.next_due.assign(tasks_.size(), -kNever);
    streams_.emplace(++last_stream_, std::move(stream));
    return last_stream_;
}

void Scheduler::close_stream(StreamId id, double now) {
    Stream& stream = streams_.at(id);
    for (FrameReport& frame : stream.waiting) {
        end_frame(frame, FrameEnd::closed, now);
    }
    streams_.erase(id);
}

void Scheduler::close(double now) {
    while (!streams_.empty()) {
        close_stream(streams_.begin()->first, now);
    }
    if (active_) {
        end_frame(*active_, FrameEnd::closed, now);
        active_.reset();
    }
}

bool Scheduler::has_room(StreamId id) const {
    const Stream& stream = streams_.at(id);
    return stream.overflow != Overflow::wait || stream.waiting.size() < stream.room;
}

std::optional<FrameId> Scheduler::offer(StreamId id, double captured, double now) {
    Stream& stream = streams_.at(id);
    if (!has_room(id)) {
        return std::nullopt;
    }
    captured = std::max(captured, stream.last_captured);
    if (std::isfinite(stream.last_captured)) {
        const double gap = captured - stream.last_captured;
        if (stream.gap.runs() == 0 || gap < kLongestGap * stream.gap.mean()) {
            stream.gap.add(gap);
        }
    }
    stream.last_captured = captured;
    stream.delay = now - captured;

    FrameReport frame;
    frame.id = ++last_frame_;
    frame.stream = id;
    frame.captured = captured;
    frame.tasks.assign(tasks_.size(), TaskEnd::not_due);
    frame.seconds.assign(stages_.size(), 0);
    if (stream.waiting.size() >= stream.room) {
        if (stream.overflow == Overflow::oldest) {
            end_frame(frame, FrameEnd::overflow, now);
            return frame.id;
        }
        end_frame(stream.waiting.front(), FrameEnd::overflow, now);
        stream.waiting.pop_front();
    }
    stream.waiting.push_back(std::move(frame));
    return last_frame_;
}

std::optional<Job> Scheduler::next(double now) {
    if (running_) {
        return std::nullopt;
    }
    while (active_ || begin_frame(now)) {
        if (const std::optional<std::size_t> stage = choose_stage(now)) {
            running_ = Job{active_->id, *stage};
            running_since_ = now;
            return running_;
        }
        end_active(now);
    }
    if (now >= wake_at()) {
        running_ = Job{0, 0};
        running_since_ = now;
    }
    return running_;
}

double Scheduler::wake_at() const { return running_ || active_ ? kNever : last_activity_ + keep_warm_; }

void Scheduler::finished(double now, bool succeeded) {
    require(running_.has_value(), "no job is running");
    const Job job = *std::exchange(running_, std::nullopt);
    last_activity_ = now;
    if (job.frame == 0 || !active_) {
        return;
    }
    active_->seconds[job.stage] = now - running_since_;
    has_run_[job.stage] = succeeded;
    has_failed_[job.stage] = !succeeded;
    if (succeeded) {
        costs_[job.stage].add(now - running_since_);
        for (std::size_t task = 0; task < tasks_.size(); ++task) {
            if (active_->tasks[task] == TaskEnd::pending && tasks_[task].stage == job.stage) {
                active_->tasks[task] = TaskEnd::done;
                missed_[task] += now > active_->captured + tasks_[task].deadline ? 1 : 0;
            }
        }
    }
}

// The frame that was captured first among those at the head of the streams' queues.
bool Scheduler::begin_frame(double now) {
    Stream* chosen = nullptr;
    for (auto& [id, stream] : streams_) {
        if (!stream.waiting.empty() &&
            (chosen == nullptr || stream.waiting.front().captured < chosen->waiting.front().captured)) {
            chosen = &stream;
        }
    }
    if (chosen == nullptr) {
        return false;
    }
    active_ = std::move(chosen->waiting.front());
    chosen->waiting.pop_front();
    active_->started = now;
    active_->end = FrameEnd::running;
    has_run_.assign(stages_.size(), false);
    has_failed_.assign(stages_.size(), false);
    take_turns(*chosen, *active_);
    return true;
}

// A task with a rate takes the frame nearest to its time. All take a stream's first frame; from there on,
// tasks with rates are spread over their periods, so that those of one rate do not all fall on the same
// frame.
void Scheduler::take_turns(Stream& stream, FrameReport& frame) {
    std::size_t rated = 0;
    for (const TaskSpec& task : tasks_) {
        rated += task.enabled && task.rate > 0 ? 1 : 0;
    }
    std::size_t position = 0;
    for (std::size_t task = 0; task < tasks_.size(); ++task) {
        const TaskSpec& spec = tasks_[task];
        if (!spec.enabled) {
            continue;
        }
        if (spec.rate <= 0) {
            frame.tasks[task] = TaskEnd::pending;
            continue;
        }
        ++position;
        double& due = stream.next_due[task];
        const double nearest = frame.captured + stream.gap.mean() / 2;
        if (due > nearest) {
            continue;
        }
        frame.tasks[task] = TaskEnd::pending;
        const double period = 1 / spec.rate;
        if (std::isfinite(due)) {
            // A turn that fell between two frames is made up for; more than one are gone.
            due += period * std::max(1.0, std::floor((nearest - due) / period));
        } else {
            due = frame.captured + period * static_cast<double>(position) / static_cast<double>(rated);
        }
    }
}

std::optional<std::size_t> Scheduler::choose_stage(double now) {
    FrameReport& frame = *active_;
    for (std::size_t position = 0; position < order_.size(); ++position) {
        const std::size_t task = order_[position];
        TaskEnd& end = frame.tasks[task];
        if (end != TaskEnd::pending) {
            continue;
        }
        double cost = 0;
        const std::optional<std::size_t> stage = next_stage(tasks_[task], cost);
        if (!stage) {
            end = TaskEnd::failed;
            continue;
        }
        if (now + cost > frame.captured + tasks_[task].deadline) {
            end = TaskEnd::late;
            doubt_costs(tasks_[task]);
            continue;
        }
        double limit = kNever;
        for (std::size_t above = 0; above < position; ++above) {
            if (tasks_[order_[above]].priority > tasks_[task].priority) {
                limit = std::min(limit, latest_start(order_[above], now));
            }
        }
        if (now + cost > limit) {
            end = TaskEnd::yielded;
            doubt_costs(tasks_[task]);
            continue;
        }
        return stage;
    }
    return std::nullopt;
}

// The first stage that a task still needs on the active frame, and what all of them cost [s]. Empty where one
// of them has failed.
std::optional<std::size_t> Scheduler::next_stage(const TaskSpec& task, double& cost) const {
    std::optional<std::size_t> first;
    for (std::size_t stage : chains_[task.stage]) {
        if (has_failed_[stage]) {
            return std::nullopt;
        }
        if (!has_run_[stage]) {
            first = first.value_or(stage);
            cost += costs_[stage].upper();
        }
    }
    return first;
}

void Scheduler::doubt_costs(const TaskSpec& task) {
    for (std::size_t stage : chains_[task.stage]) {
        if (!has_run_[stage]) {
            costs_[stage].doubt();
        }
    }
}

// When the next frame must have been begun on which `task` has its turn, or it loses that turn: the frame is
// pushed out of the queue, or its deadline passes [s].
double Scheduler::latest_start(std::size_t task, double now) const {
    const TaskSpec& spec = tasks_[task];
    double latest = kNever;
    if (!spec.enabled) {
        return latest;
    }
    double cost = 0;
    for (std::size_t stage : chains_[spec.stage]) {
        cost += costs_[stage].upper();
    }
    for (const auto& [id, stream] : streams_) {
        const double interval = stream.gap.mean();
        if (interval <= 0 || now > stream.last_captured + kLongestGap * interval) {
            continue;  // nothing is known of its frames, or they have stopped
        }
        const double arrival =
            stream.waiting.empty() ? stream.last_captured + interval : stream.waiting.front().captured;
        const double period = spec.rate > 0 ? std::max(1 / spec.rate, interval) : interval;
        const double turn = spec.rate > 0 ? std::max(arrival, stream.next_due[task]) : arrival;
        if (stream.overflow != Overflow::wait) {
            const double unsteady =
                stream.gap.runs() < kSteady ? interval / 2 : 2 * (stream.gap.upper() - interval);
            latest = std::min(latest, turn + stream.delay + period - unsteady);
        }
        latest = std::min(latest, turn + spec.deadline - cost);
    }
    return latest;
}

void Scheduler::end_active(double now) {
    FrameReport& frame = *active_;
    const auto any = [&frame](TaskEnd end) {
        return std::find(frame.tasks.begin(), frame.tasks.end(), end) != frame.tasks.end();
    };
    FrameEnd end = FrameEnd::idle;
    if (any(TaskEnd::done)) {
        end = FrameEnd::done;
    } else if (any(TaskEnd::failed)) {
        end = FrameEnd::failed;
    } else if (any(TaskEnd::late) || any(TaskEnd::yielded)) {
        end = FrameEnd::skipped;
    }
    end_frame(frame, end, now);
    active_.reset();
}

void Scheduler::end_frame(FrameReport& frame, FrameEnd end, double now) {
    frame.end = end;
    frame.ended = now;
    ++frame_counts_[static_cast<std::size_t>(end)];
    for (std::size_t task = 0; task < tasks_.size(); ++task) {
        ++task_counts_[task][static_cast<std::size_t>(frame.tasks[task])];
    }
    ended_.push_back(std::move(frame));
}

std::vector<FrameReport> Scheduler::take_ended() { return std::exchange(ended_, {}); }

void Scheduler::set_rate(std::size_t task, double rate) {
    require(rate >= 0 && std::isfinite(rate), "a rate is 0 or more");
    tasks_.at(task).rate = rate;
    for (auto& [id, stream] : streams_) {
        double& due = stream.next_due[task];
        if (rate > 0 && std::isfinite(stream.last_captured)) {
            due = std::isfinite(due) ? std::min(due, stream.last_captured + 1 / rate) : stream.last_captured;
        }
    }
}

void Scheduler::set_priority(std::size_t task, int priority) {
    tasks_.at(task).priority = priority;
    settle_order();
}

void Scheduler::set_enabled(std::size_t task, bool enabled) { tasks_.at(task).enabled = enabled; }

}  // namespace argus
