// Graphs wired through the table of an engine, meant to run under a sanitizer: exit status 0 when all hold.
// The engine here adds up its inputs, byte by byte, and one; it fails where the sum is 200 or more. A graph
// whose file is called "x2" after a blank is for two frames at once.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "graph_executor.hpp"

constexpr std::size_t kBytes = 64;

struct ArgusEngine {
    std::string name;
    std::size_t bytes;
    std::map<std::string, std::uint8_t*> inputs;
    std::uint8_t* output = nullptr;
};

namespace {

void expect(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::exit(1);
    }
}

int engines_open = 0;

ArgusEngine* open(const char* file, const char* const* settings, size_t count, char* error, size_t size) {
    if (count != 1 || std::strcmp(settings[0], "THREADS") != 0) {
        std::snprintf(error, size, "no such setting");
        return nullptr;
    }
    ++engines_open;
    const std::string name(file);
    const std::size_t blank = name.find(' ');
    return new ArgusEngine{
        name.substr(0, blank), blank == std::string::npos ? kBytes : 2 * kBytes, {}, nullptr};
}

void close(ArgusEngine* engine) {
    --engines_open;
    delete engine;
}

bool is_output(const ArgusEngine& engine, const std::string& name) { return name == "of " + engine.name; }

size_t bytes(ArgusEngine* engine, const char* name) {
    return std::strcmp(name, "none") == 0 ? 0 : engine->bytes;
}

std::set<void*> allocated;  // what the engine has given out, which may be bound as its own alone

void* allocate(size_t bytes, char*, size_t) { return *allocated.insert(std::calloc(bytes, 1)).first; }

void release(void* memory) {
    allocated.erase(memory);
    std::free(memory);
}

int bind(ArgusEngine* engine, const char* name, void* memory, int on_host, char* error, size_t size) {
    const auto after =
        allocated.upper_bound(memory);  // the last that begins at it or before holds it, if any
    const bool ours = std::strncmp(name, "of backbone", size) == 0 && after != allocated.begin();
    if (ours == (on_host != 0)) {
        std::snprintf(error, size, "bound as if it lay elsewhere");
        return 0;
    }
    std::uint8_t*& place = is_output(*engine, name) ? engine->output : engine->inputs[name];
    place = static_cast<std::uint8_t*>(memory);
    return 1;
}

int run(ArgusEngine* engine, char* error, size_t size) {
    for (std::size_t byte = 0; byte < engine->bytes; ++byte) {
        int sum = 1;
        for (const auto& [name, memory] : engine->inputs) {
            sum += memory[byte];
        }
        if (sum >= 200) {
            std::snprintf(error, size, "too much");
            return 0;
        }
        engine->output[byte] = static_cast<std::uint8_t>(sum);
    }
    return 1;
}

const ArgusEngineApi kApi{ARGUS_ENGINE_API_VERSION, open, close, bytes, allocate, release, bind, run};
const argus::Graph::Settings kSettings{{"THREADS", "1"}};

template <typename Function>
std::string refused(Function function) {
    try {
        function();
    } catch (const std::runtime_error& problem) {
        return problem.what();
    }
    return "";
}

std::shared_ptr<argus::Work> work_of(const argus::GraphExecutor& executor, std::uint8_t level) {
    auto work = std::make_shared<argus::Work>(kBytes, executor.stages(), level);
    std::memset(work->image.data(), level, kBytes);
    return work;
}

std::shared_ptr<argus::Graph> graph(const char* file, const argus::Graph::Settings& settings = kSettings) {
    return std::make_shared<argus::Graph>(&kApi, file, settings);
}

argus::Executor::Frames frames_of(const std::vector<std::shared_ptr<argus::Work>>& works) {
    argus::Executor::Frames frames;
    for (const auto& work : works) {
        frames.push_back(std::make_shared<argus::Ticket>(work->tag, work));
    }
    return frames;
}

// A backbone, a decoder of its features, and one that also reads what is prepared for each frame.
void add_graphs(argus::GraphExecutor& executor) {
    executor.add(graph("backbone"), {"image", {}, {}, {"of backbone"}, false});
    executor.add(graph("det"), {"", {"of backbone"}, {}, {"of det"}, true});
    executor.add(graph("pose"), {"", {"of backbone"}, {"persons"}, {"of pose"}, true});
    executor.set_prepare(2, [&executor](std::size_t stage, const std::shared_ptr<argus::Work>& work) {
        std::memset(executor.input(stage, "persons").data(), work->outputs.at(1).at(0).data()[0], kBytes);
    });
}

void answers_outlive_the_next_frame() {
    {
        argus::GraphExecutor executor(kBytes);
        add_graphs(executor);
        expect(executor.run(0, {}, 0), "a run without a frame keeps warm");
        std::vector<std::shared_ptr<argus::Work>> works;
        for (const std::uint8_t level : std::initializer_list<std::uint8_t>{10, 20, 190}) {
            works.push_back(work_of(executor, level));
            const argus::Executor::Frames frame = frames_of({works.back()});
            for (std::size_t stage = 0; stage < 3; ++stage) {
                expect(executor.run(stage, frame, 0) == (level < 190 || stage < 2),
                       "runs, or says that it failed");
            }
        }
        for (std::size_t frame = 0; frame < 2; ++frame) {
            const int level = frame == 0 ? 10 : 20;
            expect(works[frame]->outputs[0].empty(), "features stay where they are");
            expect(works[frame]->outputs[1][0].data()[kBytes - 1] == level + 2, "a decoder reads features");
            expect(works[frame]->outputs[2][0].data()[0] == 2 * level + 4, "and what was prepared");
        }
        expect(works[2]->errors[2] == "too much" && works[2]->errors[1].empty(),
               "the stage that failed says why");
    }
    expect(allocated.empty(), "so are features");
    expect(engines_open == 0, "engines are closed with the executor");
}

void each_frame_of_several_gets_its_answer() {
    argus::GraphExecutor executor(kBytes, 3);
    add_graphs(executor);
    executor.add_batch(0, 2, graph("backbone x2"));
    executor.add_batch(1, 2, graph("det x2"));
    const std::vector<std::shared_ptr<argus::Work>> works{work_of(executor, 10), work_of(executor, 20)};
    const argus::Executor::Frames frames = frames_of(works);
    expect(executor.run(0, frames, 0) && executor.run(1, frames, 0), "runs on both at once");
    for (std::size_t place : {1, 0}) {
        expect(executor.run(2, {frames[place]}, place), "and on one of them");
        const int level = 10 + 10 * static_cast<int>(place);
        for (std::size_t byte : {std::size_t{0}, kBytes - 1}) {
            expect(works[place]->outputs[1][0].data()[byte] == level + 2, "each frame has its own answer");
            expect(works[place]->outputs[2][0].data()[byte] == 2 * level + 4, "of its own features");
        }
    }
    const auto alone = frames_of({work_of(executor, 30)});
    expect(executor.run(0, alone, 0) && executor.run(1, alone, 0), "and on one alone after it");
    const auto failing = frames_of({work_of(executor, 30), work_of(executor, 199)});
    expect(!executor.run(0, failing, 0), "one of two is too much");
    for (const auto& frame : failing) {
        expect(static_cast<argus::Work*>(frame->payload().get())->errors[0] == "too much", "both are told");
    }
    expect(refused([&] { executor.add_batch(1, 4, graph("det x4")); }) ==
               "more frames at once than there is room for",
           "features of more frames than there is memory for");
    expect(!refused([&] { executor.add_batch(1, 3, graph("det x2")); }).empty(),
           "a graph for another number of frames");
    expect(!executor.run(2, frames, 0), "a stage without such a graph");
}

void what_does_not_fit_is_refused() {
    argus::GraphExecutor executor(kBytes + 1);
    expect(!refused([&] { executor.add(graph("a"), {"image", {}, {}, {"of a"}, true}); }).empty(),
           "an image of another size");
    expect(!refused([&] { executor.add(graph("b"), {"", {}, {"none"}, {"of b"}, true}); }).empty(),
           "an input that the graph does not have");
    expect(refused([] { graph("c", {}); }) == "no such setting", "what the engine says");
    expect(!refused([] { argus::load_engine_api("/nowhere.so"); }).empty(), "a library that is not there");
}

}  // namespace

int main() {
    answers_outlive_the_next_frame();
    each_frame_of_several_gets_its_answer();
    what_does_not_fit_is_refused();
    return 0;
}
