// Bindings of the scheduler and of the pipeline that runs it.

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>

#include "bindings.hpp"
#include "core/graph_executor.hpp"
#include "core/pipeline.hpp"
#include "core/scheduler.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Release = nb::call_guard<nb::gil_scoped_release>;

// A Python object that lives as long as a frame and may be let go by any thread.
std::shared_ptr<void> shared(nb::object object) {
    return {object.release().ptr(), [](void* pointer) {
                const nb::gil_scoped_acquire lock;
                Py_DECREF(static_cast<PyObject*>(pointer));
            }};
}

// Hands every stage to one Python callable: (stage, payloads, first) -> whether it succeeded.
class PythonExecutor : public argus::Executor {
  public:
    explicit PythonExecutor(nb::callable call) : call_(std::move(call)) {}

    bool run(std::size_t stage, const Frames& frames, std::size_t first) override {
        const nb::gil_scoped_acquire lock;
        nb::list payloads;
        for (const std::shared_ptr<argus::Ticket>& frame : frames) {
            payloads.append(nb::handle(static_cast<PyObject*>(frame->payload().get())));
        }
        return nb::cast<bool>(call_(stage, payloads, first));
    }

    // Breaks the cycle with what owns both.
    void release() { call_.reset(); }

  private:
    nb::callable call_;
};

void bind_specs(nb::module_& m) {
    nb::enum_<argus::Overflow>(m, "Overflow")
        .value("LATEST", argus::Overflow::latest)
        .value("OLDEST", argus::Overflow::oldest)
        .value("WAIT", argus::Overflow::wait);
    nb::enum_<argus::TaskEnd>(m, "TaskEnd")
        .value("PENDING", argus::TaskEnd::pending)
        .value("NOT_DUE", argus::TaskEnd::not_due)
        .value("DONE", argus::TaskEnd::done)
        .value("LATE", argus::TaskEnd::late)
        .value("YIELDED", argus::TaskEnd::yielded)
        .value("FAILED", argus::TaskEnd::failed);
    nb::enum_<argus::FrameEnd>(m, "FrameEnd")
        .value("WAITING", argus::FrameEnd::waiting)
        .value("RUNNING", argus::FrameEnd::running)
        .value("DONE", argus::FrameEnd::done)
        .value("IDLE", argus::FrameEnd::idle)
        .value("SKIPPED", argus::FrameEnd::skipped)
        .value("FAILED", argus::FrameEnd::failed)
        .value("OVERFLOW", argus::FrameEnd::overflow)
        .value("CLOSED", argus::FrameEnd::closed);
    nb::class_<argus::StageSpec>(m, "StageSpec")
        .def(
            "__init__",
            [](argus::StageSpec* stage, std::string name, std::vector<std::size_t> needs) {
                new (stage) argus::StageSpec{std::move(name), std::move(needs)};
            },
            "name"_a, "needs"_a);
    nb::class_<argus::TaskSpec>(m, "TaskSpec")
        .def(
            "__init__",
            [](argus::TaskSpec* task, std::string name, std::size_t stage, double rate, int priority,
               double deadline) {
                new (task) argus::TaskSpec{std::move(name), stage, rate, priority, deadline, true};
            },
            "name"_a, "stage"_a, "rate"_a = 0.0, "priority"_a = 0, "deadline"_a = argus::kNever)
        .def_ro("name", &argus::TaskSpec::name)
        .def_ro("rate", &argus::TaskSpec::rate)
        .def_ro("priority", &argus::TaskSpec::priority)
        .def_ro("deadline", &argus::TaskSpec::deadline)
        .def_ro("enabled", &argus::TaskSpec::enabled);
    nb::class_<argus::FrameReport>(m, "FrameReport")
        .def_ro("id", &argus::FrameReport::id)
        .def_ro("stream", &argus::FrameReport::stream)
        .def_ro("captured", &argus::FrameReport::captured)
        .def_ro("started", &argus::FrameReport::started)
        .def_ro("ended", &argus::FrameReport::ended)
        .def_ro("end", &argus::FrameReport::end)
        .def_ro("tasks", &argus::FrameReport::tasks)
        .def_ro("seconds", &argus::FrameReport::seconds);
    nb::class_<argus::Job>(m, "Job")
        .def_ro("stage", &argus::Job::stage)
        .def_ro("frames", &argus::Job::frames)
        .def_ro("first", &argus::Job::first);
}

// Driven by a test, in its own time.
void bind_scheduler(nb::module_& m) {
    nb::class_<argus::Scheduler>(m, "Scheduler")
        .def(
            nb::init<std::vector<argus::StageSpec>, std::vector<argus::TaskSpec>, std::vector<std::size_t>>(),
            "stages"_a, "tasks"_a, "batches"_a = std::vector<std::size_t>())
        .def("open_stream", &argus::Scheduler::open_stream, "room"_a, "overflow"_a)
        .def("close_stream", &argus::Scheduler::close_stream, "stream"_a, "now"_a)
        .def("close", &argus::Scheduler::close, "now"_a)
        .def("offer", &argus::Scheduler::offer, "stream"_a, "captured"_a, "now"_a)
        .def("next", &argus::Scheduler::next, "now"_a)
        .def("finished", &argus::Scheduler::finished, "now"_a, "succeeded"_a)
        .def("wake_at", &argus::Scheduler::wake_at)
        .def("take_ended", &argus::Scheduler::take_ended)
        .def("learn", &argus::Scheduler::learn, "stage"_a, "seconds"_a, "frames"_a = 1)
        .def("set_rate", &argus::Scheduler::set_rate, "task"_a, "rate"_a)
        .def("set_priority", &argus::Scheduler::set_priority, "task"_a, "priority"_a)
        .def("set_deadline", &argus::Scheduler::set_deadline, "task"_a, "deadline"_a)
        .def("set_enabled", &argus::Scheduler::set_enabled, "task"_a, "enabled"_a)
        .def("set_keep_warm", &argus::Scheduler::set_keep_warm, "seconds"_a)
        .def("waiting", &argus::Scheduler::waiting, "stream"_a)
        .def("frame_counts", &argus::Scheduler::frame_counts)
        .def("task_counts", &argus::Scheduler::task_counts, "task"_a)
        .def("missed", &argus::Scheduler::missed, "task"_a)
        .def("offered", &argus::Scheduler::offered)
        .def(
            "cost",
            [](const argus::Scheduler& scheduler, std::size_t stage, std::size_t frames) {
                const argus::Cost& cost = scheduler.cost(stage, frames);
                return std::pair(cost.mean(), cost.upper());
            },
            "stage"_a, "frames"_a = 1);
}

void bind_stats(nb::module_& m) {
    nb::class_<argus::Histogram>(m, "Histogram")
        .def(nb::init<>())
        .def("add", &argus::Histogram::add, "seconds"_a)
        .def("percentile", &argus::Histogram::percentile, "share"_a)
        .def_prop_ro("total", &argus::Histogram::total)
        .def_prop_ro("sum", &argus::Histogram::sum)
        .def_prop_ro("largest", &argus::Histogram::largest);
    nb::class_<argus::Event>(m, "Event")
        .def_ro("name", &argus::Event::name)
        .def_ro("frames", &argus::Event::frames)
        .def_ro("begin", &argus::Event::begin)
        .def_ro("end", &argus::Event::end);
    nb::class_<argus::PipelineStats>(m, "PipelineStats")
        .def_ro("stages", &argus::PipelineStats::stages)
        .def_ro("queue", &argus::PipelineStats::queue)
        .def_ro("age", &argus::PipelineStats::age)
        .def_ro("offered", &argus::PipelineStats::offered)
        .def_ro("frames", &argus::PipelineStats::frames)
        .def_ro("tasks", &argus::PipelineStats::tasks)
        .def_ro("missed", &argus::PipelineStats::missed);
}

// A change that the scheduler makes while nothing else looks at it.
template <auto Method, typename Value>
void change(argus::Pipeline& pipeline, std::size_t task, Value value) {
    pipeline.with_scheduler([&](argus::Scheduler& scheduler) { (scheduler.*Method)(task, value); });
}

void bind_pipeline(nb::module_& m) {
    nb::class_<argus::Ticket>(m, "Ticket")
        .def_prop_ro("id", &argus::Ticket::id)
        .def("wait", &argus::Ticket::wait, "timeout"_a, Release());
    nb::class_<argus::Executor>(m, "Executor");
    nb::class_<PythonExecutor, argus::Executor>(m, "PythonExecutor")
        .def(nb::init<nb::callable>(), "call"_a,
             nb::sig("def __init__(self, call: Callable[[int, typing.Any, int], bool]) -> None"))
        .def("release", &PythonExecutor::release, "Let go of the callable; nothing may run any more.");
    nb::class_<argus::Pipeline>(m, "Pipeline")
        .def(
            "__init__",
            [](argus::Pipeline* pipeline, std::vector<argus::StageSpec> stages,
               std::vector<argus::TaskSpec> tasks, std::vector<std::string> names, std::size_t traced_events,
               const std::vector<std::size_t>& batches) {
                new (pipeline) argus::Pipeline(argus::Scheduler(std::move(stages), std::move(tasks), batches),
                                               std::move(names), traced_events, argus::steady_now);
            },
            "stages"_a, "tasks"_a, "names"_a, "traced_events"_a, "batches"_a = std::vector<std::size_t>())
        .def("now", &argus::Pipeline::now)
        .def("open_stream", &argus::Pipeline::open_stream, "room"_a, "overflow"_a, Release())
        .def("close_stream", &argus::Pipeline::close_stream, "stream"_a, Release())
        .def(
            "offer",
            [](argus::Pipeline& pipeline, argus::StreamId stream, double captured,
               std::shared_ptr<argus::Work> work,
               double timeout) { return pipeline.offer(stream, captured, std::move(work), timeout); },
            "stream"_a, "captured"_a, "work"_a, "timeout"_a, Release(),
            nb::sig(
                "def offer(self, stream: int, captured: float, work: Work, timeout: float) -> Ticket | None"))
        .def(
            "offer",
            [](argus::Pipeline& pipeline, argus::StreamId stream, double captured, nb::object payload,
               double timeout) {
                std::shared_ptr<void> owned = shared(std::move(payload));
                const nb::gil_scoped_release release;
                return pipeline.offer(stream, captured, std::move(owned), timeout);
            },
            "stream"_a, "captured"_a, "payload"_a, "timeout"_a,
            nb::sig("def offer(self, stream: int, captured: float, payload: object, timeout: float) -> "
                    "Ticket | None"))
        .def("serve", &argus::Pipeline::serve, "executor"_a, Release())
        .def("close", &argus::Pipeline::close, Release())
        .def("set_rate", &change<&argus::Scheduler::set_rate, double>, "task"_a, "rate"_a, Release())
        .def("set_priority", &change<&argus::Scheduler::set_priority, int>, "task"_a, "priority"_a, Release())
        .def("set_deadline", &change<&argus::Scheduler::set_deadline, double>, "task"_a, "deadline"_a,
             Release())
        .def("set_enabled", &change<&argus::Scheduler::set_enabled, bool>, "task"_a, "enabled"_a, Release())
        .def(
            "set_keep_warm",
            [](argus::Pipeline& pipeline, double seconds) {
                pipeline.with_scheduler(
                    [seconds](argus::Scheduler& scheduler) { scheduler.set_keep_warm(seconds); });
            },
            "seconds"_a, Release())
        .def(
            "tasks",
            [](argus::Pipeline& pipeline) {
                return pipeline.with_scheduler(
                    [](const argus::Scheduler& scheduler) { return scheduler.tasks(); });
            },
            Release())
        .def(
            "record",
            [](argus::Pipeline& pipeline, std::size_t name, std::vector<argus::FrameId> frames, double begin,
               double end) { pipeline.record({name, std::move(frames), begin, end}); },
            "name"_a, "frames"_a, "begin"_a, "end"_a, Release())
        .def("stats", &argus::Pipeline::stats, Release())
        .def("events", &argus::Pipeline::events, Release())
        .def("reports", &argus::Pipeline::reports, Release());
}

}  // namespace

void bind_scheduling(nb::module_& m) {
    bind_specs(m);
    bind_scheduler(m);
    bind_stats(m);
    bind_pipeline(m);
}
