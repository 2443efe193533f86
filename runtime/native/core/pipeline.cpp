#include "pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace argus {

namespace {

constexpr double kLongestWait = 3600;  // [s]; a chrono duration cannot hold infinity

std::chrono::duration<double> bounded(double seconds) {
    return std::chrono::duration<double>(std::clamp(seconds, 0.0, kLongestWait));
}

FrameReport typical_report(const Scheduler& scheduler) {
    FrameReport report;
    report.tasks.resize(scheduler.tasks().size());
    report.seconds.resize(scheduler.stages().size());
    return report;
}

}  // namespace

double steady_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<FrameReport> Ticket::wait(double timeout) const {
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.wait_for(lock, bounded(timeout), [this] { return report_.has_value(); });
    return report_;
}

void Ticket::end(FrameReport report) {
    const std::lock_guard<std::mutex> lock(mutex_);
    report_ = std::move(report);
    ended_.notify_all();
}

Pipeline::Pipeline(Scheduler scheduler, std::vector<std::string> names, std::size_t traced_events,
                   Clock clock)
    : scheduler_(std::move(scheduler)),
      clock_(std::move(clock)),
      names_(std::move(names)),
      events_(traced_events, {0, std::vector<FrameId>(scheduler_.batches().back()), 0, 0}),
      reports_(traced_events, typical_report(scheduler_)) {
    if (names_.size() < scheduler_.stages().size() * scheduler_.batches().size()) {
        throw std::invalid_argument("each stage has a name for each number of frames");
    }
    stats_.stages.resize(names_.size());
}

StreamId Pipeline::open_stream(std::size_t room, Overflow overflow) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) {
        throw std::runtime_error("the pipeline is closed");
    }
    const StreamId stream = scheduler_.open_stream(room, overflow);
    streams_.insert(stream);
    return stream;
}

void Pipeline::close_stream(StreamId stream) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (streams_.erase(stream) > 0) {
        scheduler_.close_stream(stream, clock_());
        tell_ended();
        room_.notify_all();
    }
}

std::shared_ptr<Ticket> Pipeline::offer(StreamId stream, double captured, std::shared_ptr<void> payload,
                                        double timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool decided = room_.wait_for(
        lock, bounded(timeout), [&] { return streams_.count(stream) == 0 || scheduler_.has_room(stream); });
    if (!decided) {
        return nullptr;
    }
    if (streams_.count(stream) == 0) {
        throw std::runtime_error("the stream is closed");
    }
    const FrameId id = scheduler_.offer(stream, captured, clock_()).value();
    auto ticket = std::make_shared<Ticket>(id, std::move(payload));
    tickets_[id] = ticket;
    tell_ended();
    work_.notify_one();
    return ticket;
}

void Pipeline::serve(Executor& executor) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!closed_) {
        const std::optional<Job> job = scheduler_.next(clock_());
        tell_ended();
        room_.notify_all();
        if (job) {
            run_job(executor, *job, lock);
        } else {
            work_.wait_for(lock, bounded(scheduler_.wake_at() - clock_()));
        }
    }
}

void Pipeline::run_job(Executor& executor, const Job& job, std::unique_lock<std::mutex>& lock) {
    Executor::Frames frames;
    for (FrameId id : job.frames) {
        frames.push_back(tickets_.at(id));
    }
    const double begin = clock_();
    lock.unlock();
    const bool succeeded = executor.run(job.stage, frames, job.first);
    lock.lock();
    const double end = clock_();
    scheduler_.finished(end, succeeded);
    if (!job.frames.empty()) {
        const std::vector<std::size_t>& batches = scheduler_.batches();
        const auto batch = std::find(batches.begin(), batches.end(), job.frames.size()) - batches.begin();
        keep({static_cast<std::size_t>(batch) * scheduler_.stages().size() + job.stage, job.frames, begin,
              end});
    }
}

void Pipeline::close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    streams_.clear();
    scheduler_.close(clock_());
    tell_ended();
    work_.notify_all();
    room_.notify_all();
}

void Pipeline::tell_ended() {
    for (FrameReport& report : scheduler_.take_ended()) {
        if (report.started > 0) {
            stats_.queue.add(report.started - report.captured);
        }
        if (report.end == FrameEnd::done) {
            stats_.age.add(report.ended - report.captured);
        }
        reports_.push(report);
        const auto found = tickets_.find(report.id);
        if (found != tickets_.end()) {
            found->second->end(std::move(report));
            tickets_.erase(found);
        }
    }
}

void Pipeline::keep(const Event& event) {
    stats_.stages.at(event.name).add(event.end - event.begin);
    events_.push(event);
}

void Pipeline::record(const Event& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    keep(event);
}

PipelineStats Pipeline::stats() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    PipelineStats stats = stats_;
    stats.offered = scheduler_.offered();
    stats.frames = scheduler_.frame_counts();
    for (std::size_t task = 0; task < scheduler_.tasks().size(); ++task) {
        stats.tasks.push_back(scheduler_.task_counts(task));
        stats.missed.push_back(scheduler_.missed(task));
    }
    return stats;
}

std::vector<Event> Pipeline::events() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return events_.items();
}

std::vector<FrameReport> Pipeline::reports() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reports_.items();
}

}  // namespace argus
