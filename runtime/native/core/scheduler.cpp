#include "scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

namespace argus {

namespace {

void require(bool condition, const char* message) {
    if (!condition) {
        throw std::invalid_argument(message);
    }
}

}  // namespace

Scheduler::Scheduler(std::vector<StageSpec> stages, std::vector<TaskSpec> tasks,
                     const std::vector<std::size_t>& batches)
    : stages_(std::move(stages)),
      tasks_(std::move(tasks)),
      batches_{1},
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
    for (std::size_t frames : std::set<std::size_t>(batches.begin(), batches.end())) {
        require(frames > 1, "several frames are more than one");
        batches_.push_back(frames);
    }
    for (std::map<std::size_t, Cost>& costs : costs_) {
        for (std::size_t frames : batches_) {
            costs[frames];
        }
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
    for (Active& active : active_) {
        if (!active.ended) {
            end_frame(active.frame, FrameEnd::closed, now);
        }
    }
    active_.clear();
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
        if (stream.gap.runs() == 0 || gap < kLongestPause * stream.gap.mean()) {
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
    while (!running_ && (!active_.empty() || begin(now))) {
        running_ = choose_job(now);
        end_settled(now);
    }
    if (!running_ && now >= wake_at()) {
        running_ = Job{};
    }
    running_since_ = now;
    return running_;
}

double Scheduler::wake_at() const {
    return running_ || !active_.empty() ? kNever : last_activity_ + keep_warm_;
}

void Scheduler::finished(double now, bool succeeded) {
    require(running_.has_value(), "no job is running");
    const Job job = *std::exchange(running_, std::nullopt);
    last_activity_ = now;
    if (job.frames.empty() || active_.empty()) {
        return;
    }
    const double seconds = now - running_since_;
    if (succeeded) {
        costs_[job.stage].at(job.frames.size()).add(seconds);
    }
    for (std::size_t place = job.first; place < job.first + job.frames.size(); ++place) {
        Active& active = active_[place];
        active.frame.seconds[job.stage] = seconds;
        active.has_run[job.stage] = succeeded;
        active.has_failed[job.stage] = !succeeded;
        for (std::size_t task = 0; succeeded && task < tasks_.size(); ++task) {
            if (active.frame.tasks[task] == TaskEnd::pending && tasks_[task].stage == job.stage) {
                active.frame.tasks[task] = TaskEnd::done;
                missed_[task] += now > active.frame.captured + tasks_[task].deadline ? 1 : 0;
            }
        }
    }
}

// Frames at work with nothing left to run are told of at once; their places are free when all are.
void Scheduler::end_settled(double now) {
    for (Active& active : active_) {
        const std::vector<TaskEnd>& tasks = active.frame.tasks;
        const auto any = [&tasks](TaskEnd end) {
            return std::find(tasks.begin(), tasks.end(), end) != tasks.end();
        };
        const bool may_run = running_ && !active.has_run[0] && !active.has_failed[0];
        if (active.ended || may_run || any(TaskEnd::pending)) {
            continue;
        }
        FrameEnd end = FrameEnd::skipped;
        if (any(TaskEnd::done)) {
            end = FrameEnd::done;
        } else if (any(TaskEnd::failed)) {
            end = FrameEnd::failed;
        }
        active.ended = true;
        end_frame(active.frame, end, now);
    }
    if (!running_) {
        active_.clear();
    }
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
