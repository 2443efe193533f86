// What a scheduler decides: which frames go together, and which of their stages runs next.

#include <algorithm>
#include <cmath>

#include "scheduler.hpp"

namespace argus {

namespace {

constexpr std::uint64_t kSteady = 10;  // gaps or runs, from which on their mean and spread are known

}  // namespace

// The frame that was captured first, and as many of other streams as may run with it.
bool Scheduler::begin(double now) {
    const std::vector<Stream*> streams = streams_with_work(now);
    if (streams.empty()) {
        return false;
    }
    for (auto frames = batches_.rbegin(); *frames > 1; ++frames) {
        std::vector<Stream*> company;
        for (Stream* stream : streams) {
            if (company.size() < *frames && pays(0, *frames) && joins(*stream, *frames, now)) {
                company.push_back(stream);
            }
        }
        if (company.size() == *frames && company.front() == streams.front()) {
            for (Stream* stream : company) {
                start(*stream, now);
            }
            return true;
        }
        for (std::map<std::size_t, Cost>& costs : costs_) {
            if (streams.size() >= *frames) {
                costs.at(*frames).doubt();
            }
        }
    }
    start(*streams.front(), now);
    return true;
}

// Streams in which a frame waits that has something to run, in the order of capture. Others are done with.
std::vector<Scheduler::Stream*> Scheduler::streams_with_work(double now) {
    std::vector<Stream*> found;
    for (auto& [id, stream] : streams_) {
        bool due = false;
        while (!due && !stream.waiting.empty()) {
            FrameReport& frame = stream.waiting.front();
            for (std::size_t task = 0; task < tasks_.size(); ++task) {
                due = due || is_due(stream, task, frame.captured);
            }
            if (!due) {
                frame.started = now;
                end_frame(frame, FrameEnd::idle, now);
                stream.waiting.pop_front();
            }
        }
        if (due) {
            found.push_back(&stream);
        }
    }
    std::stable_sort(found.begin(), found.end(), [](const Stream* one, const Stream* other) {
        return one->waiting.front().captured < other->waiting.front().captured;
    });
    return found;
}

// Whether a stage runs on several frames at once in less time than one by one, which is found by trying.
bool Scheduler::pays(std::size_t stage, std::size_t frames) const {
    const Cost& one = cost(stage);
    const Cost& several = cost(stage, frames);
    if (one.runs() < kSteady || several.runs() < kSteady) {
        return one.runs() >= kSteady;
    }
    return several.expected() < static_cast<double>(frames) * one.mean();
}

// Whether the next frame of a stream may run at once with others: it has something to do then, and would
// not have more to do alone.
bool Scheduler::joins(const Stream& stream, std::size_t frames, double now) const {
    const double captured = stream.waiting.front().captured;
    bool any = false;
    for (std::size_t position = 0; position < order_.size(); ++position) {
        const std::size_t task = order_[position];
        if (!is_due(stream, task, captured)) {
            continue;
        }
        const double deadline = captured + tasks_[task].deadline;
        const double end = now + chain_cost(task, frames);
        if (end > deadline && now + chain_cost(task, 1) <= deadline) {
            return false;
        }
        any = any || end <= std::min(deadline, limit_of(position, now));
    }
    return any;
}

void Scheduler::start(Stream& stream, double now) {
    Active& active = active_.emplace_back();
    active.frame = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    active.frame.started = now;
    active.frame.end = FrameEnd::running;
    active.has_run.assign(stages_.size(), false);
    active.has_failed.assign(stages_.size(), false);
    take_turns(stream, active.frame);
}

// A task with a rate takes the frame nearest to its time.
bool Scheduler::is_due(const Stream& stream, std::size_t task, double captured) const {
    const TaskSpec& spec = tasks_[task];
    return spec.enabled && (spec.rate <= 0 || stream.next_due[task] <= captured + stream.gap.mean() / 2);
}

// All tasks take a stream's first frame; from there on, tasks with rates are spread over their periods, so
// that those of one rate do not all fall on the same frame.
void Scheduler::take_turns(Stream& stream, FrameReport& frame) {
    const auto has_rate = [](const TaskSpec& task) { return task.enabled && task.rate > 0; };
    const auto rated = std::count_if(tasks_.begin(), tasks_.end(), has_rate);
    std::size_t position = 0;
    for (std::size_t task = 0; task < tasks_.size(); ++task) {
        position += has_rate(tasks_[task]) ? 1 : 0;
        if (!is_due(stream, task, frame.captured)) {
            continue;
        }
        frame.tasks[task] = TaskEnd::pending;
        if (!has_rate(tasks_[task])) {
            continue;
        }
        double& due = stream.next_due[task];
        const double period = 1 / tasks_[task].rate;
        if (std::isfinite(due)) {
            // A turn that fell between two frames is made up for; more than one are gone.
            const double nearest = frame.captured + stream.gap.mean() / 2;
            due += period * std::max(1.0, std::floor((nearest - due) / period));
        } else {
            due = frame.captured + period * static_cast<double>(position) / static_cast<double>(rated);
        }
    }
}

std::optional<Job> Scheduler::choose_job(double now) {
    for (std::size_t position = 0; position < order_.size(); ++position) {
        if (std::optional<Job> job = choose_job_of(order_[position], limit_of(position, now), now)) {
            return job;
        }
    }
    return std::nullopt;
}

// The next run for a task on frames at work, on as many neighbours at once as may be. What it cannot run on
// is settled.
std::optional<Job> Scheduler::choose_job_of(std::size_t task, double limit, double now) {
    for (auto frames = batches_.rbegin(); frames != batches_.rend(); ++frames) {
        for (std::size_t first = 0; first + *frames <= active_.size(); ++first) {
            const auto begin = active_.begin() + static_cast<std::ptrdiff_t>(first);
            const auto pending = [task](const Active& active) {
                return !active.ended && active.frame.tasks[task] == TaskEnd::pending;
            };
            if (!std::all_of(begin, begin + static_cast<std::ptrdiff_t>(*frames), pending)) {
                continue;
            }
            std::size_t stage = 0;
            const TaskEnd verdict = judge(task, first, *frames, limit, now, stage);
            if (verdict == TaskEnd::pending) {
                return job_of(stage, first, *frames);
            }
            if (verdict != TaskEnd::failed) {
                doubt_costs(task, active_[first], *frames);
            }
            if (*frames == 1) {
                active_[first].frame.tasks[task] = verdict;
            }
        }
    }
    return std::nullopt;
}

// How a task would end if it ran its next stage now on `frames` at once: pending, where it may.
TaskEnd Scheduler::judge(std::size_t task, std::size_t first, std::size_t frames, double limit, double now,
                         std::size_t& stage) const {
    for (std::size_t place = first; place < first + frames; ++place) {
        const std::optional<Path> rest = path(task, active_[place], frames);
        if (!rest || (place > first && rest->stage != stage)) {
            return TaskEnd::failed;  // or not to be run at once, if there are several
        }
        stage = rest->stage;
        if (stage != 0 && frames > 1 && !pays(stage, frames)) {
            return TaskEnd::yielded;  // to one by one
        }
        if (now + rest->cost > active_[place].frame.captured + tasks_[task].deadline) {
            return TaskEnd::late;
        }
        if (now + rest->cost > limit) {
            return TaskEnd::yielded;
        }
    }
    return TaskEnd::pending;
}

Job Scheduler::job_of(std::size_t stage, std::size_t first, std::size_t frames) const {
    Job job{stage, {}, together(stage, frames) == frames ? first : 0};
    for (std::size_t place = job.first; place < job.first + together(stage, frames); ++place) {
        job.frames.push_back(active_[place].frame.id);
    }
    return job;
}

// Empty where a stage that the task needs has failed.
std::optional<Scheduler::Path> Scheduler::path(std::size_t task, const Active& active,
                                               std::size_t frames) const {
    std::optional<Path> rest;
    for (std::size_t stage : chains_[tasks_[task].stage]) {
        if (active.has_failed[stage]) {
            return std::nullopt;
        }
        if (!active.has_run[stage]) {
            rest = rest.value_or(Path{stage, 0});
            rest->cost += cost(stage, together(stage, frames)).upper();
        }
    }
    return rest;
}

void Scheduler::doubt_costs(std::size_t task, const Active& active, std::size_t frames) {
    for (std::size_t stage : chains_[tasks_[task].stage]) {
        if (!active.has_run[stage]) {
            costs_[stage].at(together(stage, frames)).doubt();
        }
    }
}

double Scheduler::chain_cost(std::size_t task, std::size_t frames) const {
    double seconds = 0;
    for (std::size_t stage : chains_[tasks_[task].stage]) {
        seconds += cost(stage, frames).upper();
    }
    return seconds;
}

// When the task at `position` of the order must have ended, or one of higher priority loses a turn [s].
double Scheduler::limit_of(std::size_t position, double now) const {
    double limit = kNever;
    for (std::size_t above = 0; above < position; ++above) {
        if (tasks_[order_[above]].priority > tasks_[order_[position]].priority) {
            limit = std::min(limit, latest_start(order_[above], now));
        }
    }
    return limit;
}

// When the next frame must have been begun on which `task` has its turn, or it loses that turn: the frame is
// pushed out of the queue, or its deadline passes [s].
double Scheduler::latest_start(std::size_t task, double now) const {
    const TaskSpec& spec = tasks_[task];
    double latest = kNever;
    if (!spec.enabled) {
        return latest;
    }
    const double cost = chain_cost(task, 1);
    for (const auto& [id, stream] : streams_) {
        const double interval = stream.gap.mean();
        if (interval <= 0 || now > stream.last_captured + kLongestPause * interval) {
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

}  // namespace argus
