// OpenVINO as an engine of the core: networks that OpenVINO has compiled and exported, run without Python.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <openvino/openvino.hpp>
#include <set>
#include <stdexcept>
#include <string>

#include "core/attempt.hpp"
#include "core/engine_api.h"

struct ArgusEngine {
    ov::CompiledModel model;
    ov::InferRequest request;
    std::map<std::string, ov::Output<const ov::Node>> ports;
};

namespace {

using argus::attempt;

// One for the process and never destroyed: a second Core may free what signal handlers still use (on AMX).
ov::Core& core() {
    static ov::Core* const core = new ov::Core();
    return *core;
}

// A library of operations, which the process has once.
void add_extension(const std::string& library) {
    static std::mutex mutex;
    static std::set<std::string> added;
    const std::lock_guard<std::mutex> lock(mutex);  // graphs are opened by several threads
    if (added.insert(library).second) {
        core().add_extension(library);
    }
}

void add_port(ArgusEngine& engine, const ov::Output<const ov::Node>& port) {
    for (const std::string& name : port.get_names()) {
        engine.ports.emplace(name, port);
    }
}

ArgusEngine* open(const char* file, const char* const* settings, size_t count, char* error, size_t size) {
    auto engine = std::make_unique<ArgusEngine>();
    const int opened = attempt(error, size, [&] {
        ov::AnyMap properties;
        for (size_t pair = 0; pair < count; ++pair) {
            if (std::string(settings[2 * pair]) == "EXTENSION") {
                add_extension(settings[2 * pair + 1]);
            } else {
                properties[settings[2 * pair]] = std::string(settings[2 * pair + 1]);
            }
        }
        std::ifstream stream(file, std::ios::binary);
        if (!stream) {
            throw std::runtime_error("the file cannot be read");
        }
        engine->model = core().import_model(stream, "CPU", properties);
        engine->request = engine->model.create_infer_request();
        for (const auto& port : engine->model.inputs()) {
            add_port(*engine, port);
        }
        for (const auto& port : engine->model.outputs()) {
            add_port(*engine, port);
        }
    });
    return opened != 0 ? engine.release() : nullptr;
}

void close(ArgusEngine* engine) { delete engine; }

size_t bytes(ArgusEngine* engine, const char* name) {
    const auto found = engine->ports.find(name);
    if (found == engine->ports.end()) {
        return 0;
    }
    return ov::shape_size(found->second.get_shape()) * found->second.get_element_type().size();
}

// Everything is the host's.
void* allocate(size_t bytes, char* error, size_t size) {
    constexpr size_t kAlignment = 64;  // a cache line, and the widest vector
    void* const memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (memory == nullptr) {
        std::snprintf(error, size, "no memory for %zu bytes", bytes);
    }
    return memory;
}

void release(void* memory) { std::free(memory); }

int bind(ArgusEngine* engine, const char* name, void* memory, int, char* error, size_t size) {
    return attempt(error, size, [&] {
        const ov::Output<const ov::Node>& port = engine->ports.at(name);
        engine->request.set_tensor(port, ov::Tensor(port.get_element_type(), port.get_shape(), memory));
    });
}

int run(ArgusEngine* engine, char* error, size_t size) {
    return attempt(error, size, [&] { engine->request.infer(); });
}

const ArgusEngineApi kApi{ARGUS_ENGINE_API_VERSION, open, close, bytes, allocate, release, bind, run};

}  // namespace

extern "C" __attribute__((visibility("default"))) const ArgusEngineApi* argus_engine_api() { return &kApi; }
