#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "histogram.hpp"
#include "ring.hpp"
#include "scheduler.hpp"

namespace argus {

/// A frame on its way through a pipeline, as whoever offered it sees it.
class Ticket {
  public:
    Ticket(FrameId id, std::shared_ptr<void> payload) : id_(id), payload_(std::move(payload)) {}

    FrameId id() const { return id_; }
    /// What the executor needs of the frame and what it makes of it.
    const std::shared_ptr<void>& payload() const { return payload_; }

    /// What became of the frame; empty when that is still open after `timeout` [s].
    std::optional<FrameReport> wait(double timeout) const;

  private:
    friend class Pipeline;

    void end(FrameReport report);

    FrameId id_;
    std::shared_ptr<void> payload_;
    mutable std::mutex mutex_;
    mutable std::condition_variable ended_;
    std::optional<FrameReport> report_;
};

/// Runs stages: an engine, or whatever stands for one.
class Executor {
  public:
    using Frames = std::vector<std::shared_ptr<Ticket>>;

    Executor() = default;
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;
    virtual ~Executor() = default;

    /// Run one stage at once on frames, the `first` and those after it of all that the first stage has run on
    /// last; where there is none, to keep the machine warm. False when it has failed.
    virtual bool run(std::size_t stage, const Frames& frames, std::size_t first) = 0;
};

/// Something that took time.
struct Event {
    std::size_t name = 0;  // index among the names of the pipeline
    std::vector<FrameId> frames;
    double begin = 0;  // [s]
    double end = 0;    // [s]
};

/// How much came through a pipeline, and how fast.
struct PipelineStats {
    std::vector<Histogram> stages;  // by name
    Histogram queue;                // from capture to the start of the frame
    Histogram age;                  // from capture to the end of the frame, of those that were done
    std::uint64_t offered = 0;
    std::array<std::uint64_t, kFrameEnds> frames{};
    std::vector<std::array<std::uint64_t, kTaskEnds>> tasks;
    std::vector<std::uint64_t> missed;  // deadlines, by task
};

/// Takes frames from any thread, has a scheduler decide and an executor run, and tells what became of each.
class Pipeline {
  public:
    /// Seconds of a clock that never goes back.
    using Clock = std::function<double()>;

    /// `names` are those of everything that is measured: first the scheduler's stages on one frame, then on
    /// several at once for each number of them, then what `record` adds.
    Pipeline(Scheduler scheduler, std::vector<std::string> names, std::size_t traced_events, Clock clock);

    double now() const { return clock_(); }

    StreamId open_stream(std::size_t room, Overflow overflow);
    /// Drop what waits in a stream and take no more. Harmless when repeated.
    void close_stream(StreamId stream);

    /// Offer a frame that was captured at a time of the pipeline's clock. Waits at most `timeout` [s] for
    /// room, and gives nothing when there was none. Throws std::runtime_error when the stream is closed.
    std::shared_ptr<Ticket> offer(StreamId stream, double captured, std::shared_ptr<void> payload,
                                  double timeout);

    /// Run what is due, in the calling thread, until the pipeline is closed.
    void serve(Executor& executor);

    /// End everything: what waits is dropped, and `serve` returns after the stage that it runs.
    void close();

    /// Run a change of rates, priorities and so on, or look at the scheduler, while nothing else does.
    template <typename Function>
    auto with_scheduler(Function function) {
        const std::lock_guard<std::mutex> lock(mutex_);
        work_.notify_all();
        return function(scheduler_);
    }

    /// Note that something outside the stages took time.
    void record(const Event& event);
    PipelineStats stats() const;
    /// The last events and ends of frames, oldest first.
    std::vector<Event> events() const;
    std::vector<FrameReport> reports() const;
    const std::vector<std::string>& names() const { return names_; }

  private:
    void run_job(Executor& executor, const Job& job, std::unique_lock<std::mutex>& lock);
    void tell_ended();
    void keep(const Event& event);

    mutable std::mutex mutex_;
    std::condition_variable work_;  // something may have become due
    std::condition_variable room_;  // a queue may have room
    Scheduler scheduler_;
    Clock clock_;
    std::vector<std::string> names_;
    std::map<FrameId, std::shared_ptr<Ticket>> tickets_;  // of frames that have not ended
    std::set<StreamId> streams_;                          // those that are open
    bool closed_ = false;

    PipelineStats stats_;
    Ring<Event> events_;
    Ring<FrameReport> reports_;
};

/// Seconds of std::chrono::steady_clock.
double steady_now();

}  // namespace argus
