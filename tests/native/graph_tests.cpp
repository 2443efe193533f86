// Graphs wired through the table of an engine, meant to run under a sanitizer: exit status 0 when all hold.
// The engine here adds up its inputs, byte by byte, and one; it fails where the sum is 200 or more.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>

#include "graph_executor.hpp"

constexpr std::size_t kBytes = 64;

struct ArgusEngine {
    std::string file;
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
    return new ArgusEngine{file, {}, nullptr};
}

void close(ArgusEngine* engine) {
    --engines_open;
    delete engine;
}

bool is_output(const ArgusEngine& engine, const std::string& name) { return name == "of " + engine.file; }

size_t bytes(ArgusEngine* engine, const char* name) {
    return std::strcmp(name, "none") == 0 && engine != nullptr ? 0 : kBytes;
}

int bind(ArgusEngine* engine, const char* name, void* memory, char*, size_t) {
    std::uint8_t*& place = is_output(*engine, name) ? engine->output : engine->inputs[name];
    place = static_cast<std::uint8_t*>(memory);
    return 1;
}

int run(ArgusEngine* engine, char* error, size_t size) {
    for (std::size_t byte = 0; byte < kBytes; ++byte) {
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

const ArgusEngineApi kApi{ARGUS_ENGINE_API_VERSION, open, close, bytes, bind, run};
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
        expect(executor.run(0, nullptr), "a run without a frame keeps warm");
        std::vector<std::shared_ptr<argus::Work>> works;
        for (const std::uint8_t level : std::initializer_list<std::uint8_t>{10, 20, 190}) {
            works.push_back(work_of(executor, level));
            argus::Ticket ticket(level, works.back());
            for (std::size_t stage = 0; stage < 3; ++stage) {
                expect(executor.run(stage, &ticket) == (level < 190 || stage < 2),
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
    expect(engines_open == 0, "engines are closed with the executor");
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
    what_does_not_fit_is_refused();
    return 0;
}
