#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cost.hpp"

namespace argus {

/// A time that does not come [s].
constexpr double kNever = std::numeric_limits<double>::infinity();

/// Of the usual time between two frames of a stream; a longer pause says nothing about the frame rate.
constexpr double kLongestPause = 4.0;

using FrameId = std::uint64_t;
using StreamId = std::uint64_t;

/// What happens to a frame for which its stream has no room: it takes the place of the oldest that waits
/// (latest), is dropped itself (oldest), or whoever offers it has to wait (wait).
enum class Overflow { latest, oldest, wait };

/// A graph that runs at most once per frame.
struct StageSpec {
    std::string name;
    std::vector<std::size_t> needs;  // stages of the same frame that must have run; all before this one
};

/// What a user asks for: the answer of one stage, so often, and how soon.
struct TaskSpec {
    std::string name;
    std::size_t stage = 0;
    double rate = 0;           // [1/s] in each stream; 0: on every frame
    int priority = 0;          // more is more important
    double deadline = kNever;  // [s] from a frame's capture to its answer
    bool enabled = true;
};

/// What became of a task on a frame.
enum class TaskEnd : std::uint8_t {
    pending,  // not decided yet
    not_due,  // its rate had nothing to do on this frame
    done,
    late,     // skipped: it would have missed its deadline
    yielded,  // skipped: a task of higher priority would have lost a turn
    failed,   // a stage that it needs has failed
};
constexpr std::size_t kTaskEnds = 6;

/// What became of a frame.
enum class FrameEnd : std::uint8_t {
    waiting,   // in its stream's queue
    running,   // stages of it run
    done,      // at least one task is done
    idle,      // no task was due
    skipped,   // all that were due were skipped
    failed,    // all that were due and not skipped have failed
    overflow,  // dropped: the queue was full
    closed,    // dropped: its stream was closed
};
constexpr std::size_t kFrameEnds = 8;

struct FrameReport {
    FrameId id = 0;
    StreamId stream = 0;
    double captured = 0;  // [s]
    double started = 0;   // [s] when it left the queue
    double ended = 0;     // [s]
    FrameEnd end = FrameEnd::waiting;
    std::vector<TaskEnd> tasks;   // in the order of the task table
    std::vector<double> seconds;  // each stage's run; 0 where it has not run
};

/// One run of one stage on one frame or on several at once. A job without frames keeps the machine warm.
struct Job {
    std::size_t stage = 0;
    std::vector<FrameId> frames;
    std::size_t first = 0;  // place of the first of them among those that are at work together
};

/// Decides what runs next on one device. It has no threads and no clock: whoever drives it says what happened
/// and at what time [s], so that every decision can be tested in simulated time.
///
/// One frame at a time is at work, because its decoders read what the backbone wrote last; its tasks run in
/// the order of their priority. Before a task starts, it is skipped if it would end too late, or if a task of
/// higher priority would lose its next turn meanwhile.
///
/// Where stages can run on several frames at once, a frame takes those along that wait in other streams, as
/// many as there is such a run for: the first stage runs once on all of them, a decoder at once on neighbours
/// that want it. Nobody waits for frames to come; a frame is not taken along where a task would miss its
/// deadline for it, and nothing runs on several at once that has turned out to take as long as one by one.
class Scheduler {
  public:
    /// `batches`: how many frames, more than one, every stage can run on at once.
    Scheduler(std::vector<StageSpec> stages, std::vector<TaskSpec> tasks,
              const std::vector<std::size_t>& batches = {});

    /// Open a stream of frames: how many may wait, and what happens to one more.
    StreamId open_stream(std::size_t room, Overflow overflow);

    /// Close a stream: what waits in it is dropped, what runs is finished.
    void close_stream(StreamId stream, double now);

    /// Close all streams and give up what is at work. A job that runs is to be reported all the same.
    void close(double now);

    /// Offer a frame. Empty where it has to wait for room. In a stream, time does not go back.
    std::optional<FrameId> offer(StreamId stream, double captured, double now);

    /// The run to start now, if any. Until it is reported, there is no other.
    std::optional<Job> next(double now);

    /// The job that was handed out last has ended.
    void finished(double now, bool succeeded);

    /// When to ask for the next job though nothing has happened [s].
    double wake_at() const;

    /// Frames that have ended since the last call, in the order in which they did.
    std::vector<FrameReport> take_ended();

    /// Learn how long a stage takes on so many frames at once, for instance from a first run outside.
    void learn(std::size_t stage, double seconds, std::size_t frames = 1) {
        costs_.at(stage).at(frames).add(seconds);
    }

    void set_rate(std::size_t task, double rate);
    void set_priority(std::size_t task, int priority);
    void set_deadline(std::size_t task, double deadline) { tasks_.at(task).deadline = deadline; }
    void set_enabled(std::size_t task, bool enabled);
    /// Run the first stage when nothing has run for so long [s].
    void set_keep_warm(double seconds) { keep_warm_ = seconds; }

    const std::vector<TaskSpec>& tasks() const { return tasks_; }
    const std::vector<StageSpec>& stages() const { return stages_; }
    /// How many frames a stage may run on at once, 1 first.
    const std::vector<std::size_t>& batches() const { return batches_; }
    const Cost& cost(std::size_t stage, std::size_t frames = 1) const { return costs_.at(stage).at(frames); }
    /// Frames waiting in a stream.
    std::size_t waiting(StreamId stream) const { return streams_.at(stream).waiting.size(); }
    bool has_room(StreamId stream) const;

    /// How many frames, and how many turns of each task, ended in which way.
    const std::array<std::uint64_t, kFrameEnds>& frame_counts() const { return frame_counts_; }
    const std::array<std::uint64_t, kTaskEnds>& task_counts(std::size_t task) const {
        return task_counts_.at(task);
    }
    /// How many of the done turns of a task were later than its deadline.
    std::uint64_t missed(std::size_t task) const { return missed_.at(task); }
    std::uint64_t offered() const { return last_frame_; }

  private:
    struct Stream {
        std::size_t room = 1;
        Overflow overflow = Overflow::latest;
        std::deque<FrameReport> waiting;
        double last_captured = -kNever;
        Cost gap;                      // [s] between captures
        double delay = 0;              // [s] from the last capture to its offer
        std::vector<double> next_due;  // [s] for each task with a rate
    };

    /// A frame that has left its queue.
    struct Active {
        FrameReport frame;
        std::vector<bool> has_run;  // stages
        std::vector<bool> has_failed;
        bool ended = false;
    };

    /// What a task has still to run on a frame at work: the next stage, and how long that and the rest take.
    struct Path {
        std::size_t stage = 0;
        double cost = 0;  // [s]
    };

    bool begin(double now);
    void start(Stream& stream, double now);
    std::vector<Stream*> streams_with_work(double now);
    bool pays(std::size_t stage, std::size_t frames) const;
    bool joins(const Stream& stream, std::size_t frames, double now) const;
    bool is_due(const Stream& stream, std::size_t task, double captured) const;
    void take_turns(Stream& stream, FrameReport& frame);

    std::optional<Job> choose_job(double now);
    std::optional<Job> choose_job_of(std::size_t task, double limit, double now);
    TaskEnd judge(std::size_t task, std::size_t first, std::size_t frames, double limit, double now,
                  std::size_t& stage) const;
    Job job_of(std::size_t stage, std::size_t first, std::size_t frames) const;
    std::optional<Path> path(std::size_t task, const Active& active, std::size_t frames) const;
    void doubt_costs(std::size_t task, const Active& active, std::size_t frames);
    /// Frames that run at once when a stage runs for `frames` of those at work: the first runs on all.
    std::size_t together(std::size_t stage, std::size_t frames) const {
        return stage == 0 ? active_.size() : frames;
    }

    double chain_cost(std::size_t task, std::size_t frames) const;
    double limit_of(std::size_t position, double now) const;
    double latest_start(std::size_t task, double now) const;
    void end_settled(double now);
    void end_frame(FrameReport& frame, FrameEnd end, double now);
    void settle_order();

    std::vector<StageSpec> stages_;
    std::vector<std::vector<std::size_t>> chains_;  // for each stage: all that it needs and itself, in order
    std::vector<TaskSpec> tasks_;
    std::vector<std::size_t> order_;                  // tasks by priority, the highest first
    std::vector<std::size_t> batches_;                // in ascending order, 1 first
    std::vector<std::map<std::size_t, Cost>> costs_;  // of each stage, by the frames that it runs on at once
    std::map<StreamId, Stream> streams_;

    std::vector<Active> active_;  // by place: that of its answer among those of the first stage
    std::optional<Job> running_;
    double running_since_ = 0;
    double last_activity_ = 0;
    double keep_warm_ = kNever;

    std::vector<FrameReport> ended_;
    std::array<std::uint64_t, kFrameEnds> frame_counts_{};
    std::vector<std::array<std::uint64_t, kTaskEnds>> task_counts_;
    std::vector<std::uint64_t> missed_;
    FrameId last_frame_ = 0;
    StreamId last_stream_ = 0;
};

}  // namespace argus
