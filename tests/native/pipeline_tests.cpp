// The pipeline under load from several threads, meant to run under the thread sanitizer: exit status 0 when
// every frame is accounted for.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "pipeline.hpp"

namespace {

void expect(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::exit(1);
    }
}

// Sleeps for as long as it is told to, and fails now and then.
class FakeExecutor : public argus::Executor {
  public:
    explicit FakeExecutor(std::vector<int> service_us) : service_us_(std::move(service_us)) {}

    bool run(std::size_t stage, const Frames& frames, std::size_t first) override {
        std::this_thread::sleep_for(std::chrono::microseconds(service_us_.at(stage)));
        for (const auto& frame : frames) {
            *static_cast<std::atomic<int>*>(frame->payload().get()) += 1;
        }
        at_once_ = stage == 0 ? frames.size() : at_once_;
        expect(first + frames.size() <= at_once_, "a decoder runs on what the backbone has run on");
        largest = std::max(largest, frames.size());
        return stage == 0 || ++runs_ % 50 != 0;
    }

    std::size_t largest = 0;  // number of frames at once

  private:
    std::vector<int> service_us_;
    std::size_t at_once_ = 0;
    int runs_ = 0;
};

argus::Scheduler two_tasks(const std::vector<std::size_t>& batches = {}) {
    return argus::Scheduler({{"backbone", {}}, {"a", {0}}, {"b", {0}}},
                            {{"a", 1, 0, 1, argus::kNever, true}, {"b", 2, 200, 0, argus::kNever, true}},
                            batches);
}

std::uint64_t sum(const std::array<std::uint64_t, argus::kFrameEnds>& counts) {
    std::uint64_t total = 0;
    for (std::uint64_t count : counts) {
        total += count;
    }
    return total;
}

// Cameras, callers that wait, a thread that changes everything, and one that looks at everything.
void every_frame_is_accounted_for(bool batches) {
    std::vector<std::string> names{"backbone", "a", "b"};
    if (batches) {
        names.insert(names.end(), {"backbone x2", "a x2", "b x2", "backbone x3", "a x3", "b x3"});
    }
    names.emplace_back("decode");
    argus::Pipeline pipeline(two_tasks(batches ? std::vector<std::size_t>{2, 3} : std::vector<std::size_t>{}),
                             names, 64, argus::steady_now);
    FakeExecutor executor({300, 200, 100});
    std::thread worker([&] { pipeline.serve(executor); });
    std::atomic<std::uint64_t> offered{0};
    std::atomic<bool> stop{false};

    std::vector<std::thread> threads;
    for (int camera = 0; camera < 2; ++camera) {
        threads.emplace_back([&pipeline, &offered, camera] {
            for (int round = 0; round < 3; ++round) {
                const argus::StreamId stream =
                    pipeline.open_stream(1, camera == 0 ? argus::Overflow::latest : argus::Overflow::oldest);
                for (int frame = 0; frame < 60; ++frame) {
                    pipeline.offer(stream, pipeline.now(), std::make_shared<std::atomic<int>>(0), 1);
                    ++offered;
                    std::this_thread::sleep_for(std::chrono::microseconds(400));
                }
                pipeline.close_stream(stream);
            }
        });
    }
    threads.emplace_back([&pipeline, &offered] {
        const argus::StreamId stream = pipeline.open_stream(1, argus::Overflow::wait);
        for (int frame = 0; frame < 100; ++frame) {
            auto runs = std::make_shared<std::atomic<int>>(0);
            const auto ticket = pipeline.offer(stream, pipeline.now(), runs, 10);
            expect(ticket != nullptr, "there is room in time");
            ++offered;
            const auto report = ticket->wait(10);
            expect(report && report->end != argus::FrameEnd::overflow, "whoever waits gets an answer");
            expect(report->end != argus::FrameEnd::done || *runs >= 2, "what is done has run");
        }
    });
    threads.emplace_back([&pipeline, &stop, decode = names.size() - 1] {
        std::mt19937 random(0);
        while (!stop) {
            const auto task = static_cast<std::size_t>(random() % 2);
            pipeline.with_scheduler([&](argus::Scheduler& scheduler) {
                scheduler.set_rate(1, static_cast<double>(random() % 400));
                scheduler.set_priority(task, static_cast<int>(random() % 3));
            });
            pipeline.record({decode, {}, 0, 0.001});
            expect(sum(pipeline.stats().frames) <= pipeline.stats().offered, "no frame ends twice");
            expect(pipeline.events().size() <= 64 && pipeline.reports().size() <= 64, "memory is bounded");
        }
    });
    for (std::size_t thread = 0; thread + 1 < threads.size(); ++thread) {
        threads[thread].join();
    }
    stop = true;
    threads.back().join();
    pipeline.close();
    worker.join();
    expect(pipeline.stats().offered == offered, "every frame was counted once");
    expect(sum(pipeline.stats().frames) == offered, "in = out + dropped by cause");
    expect((executor.largest > 1) == batches, "frames of several streams run at once where they may");
}

void closing_wakes_whoever_waits() {
    argus::Pipeline pipeline(two_tasks(), {"backbone", "a", "b"}, 8, argus::steady_now);
    const argus::StreamId stream = pipeline.open_stream(1, argus::Overflow::wait);
    const auto payload = std::make_shared<std::atomic<int>>(0);
    const auto waiting = pipeline.offer(stream, 0, payload, 0);
    expect(pipeline.offer(stream, 0, payload, 0.01) == nullptr, "no room is told in time");
    expect(!waiting->wait(0.01).has_value(), "nothing runs while nobody serves");
    std::atomic<bool> refused{false};
    std::thread blocked([&] {
        try {
            pipeline.offer(stream, 0, payload, 60);
        } catch (const std::runtime_error&) {
            refused = true;
        }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pipeline.close();
    pipeline.close();
    blocked.join();
    expect(refused, "a queue that closes lets go of whoever waits for room");
    expect(waiting->wait(0)->end == argus::FrameEnd::closed, "what waited is told");
    FakeExecutor executor({0, 0, 0});
    pipeline.serve(executor);  // returns at once
}

}  // namespace

int main() {
    every_frame_is_accounted_for(false);
    every_frame_is_accounted_for(true);
    closing_wakes_whoever_waits();
    return 0;
}
