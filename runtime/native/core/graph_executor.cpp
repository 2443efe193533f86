#include "graph_executor.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace argus {

namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector

using Message = std::array<char, 512>;

}  // namespace

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
    const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    begin_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, rounded)));
    if (begin_ == nullptr) {
        throw std::bad_alloc();
    }
    std::memset(begin_.get(), 0, rounded);
}

void Buffer::Free::operator()(std::uint8_t* begin) const { std::free(begin); }

const ArgusEngineApi* load_engine_api(const std::string& file) {
    void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw std::runtime_error(dlerror());
    }
    void* const symbol = dlsym(library, ARGUS_ENGINE_API_SYMBOL);
    if (symbol == nullptr) {
        throw std::runtime_error(file + " holds no engine");
    }
    const auto get = reinterpret_cast<const ArgusEngineApi* (*)()>(symbol);
    const ArgusEngineApi* const api = get();
    if (api->version != ARGUS_ENGINE_API_VERSION) {
        throw std::runtime_error(file + " was built with another version of argus_edge");
    }
    return api;
}

GraphExecutor::~GraphExecutor() {
    for (const Graph& graph : graphs_) {
        api_->close(graph.engine);
    }
}

void GraphExecutor::add(const std::string& file, const Settings& settings, const Wiring& wiring) {
    std::vector<const char*> pairs;
    for (const auto& [name, value] : settings) {
        pairs.push_back(name.c_str());
        pairs.push_back(value.c_str());
    }
    Message error{};
    ArgusEngine* const engine =
        api_->open(file.c_str(), pairs.data(), settings.size(), error.data(), error.size());
    if (engine == nullptr) {
        throw std::runtime_error(error.data());
    }
    Graph& graph = graphs_.emplace_back();
    graph.engine = engine;
    graph.wiring = wiring;
    if (!wiring.image.empty()) {
        bind(graph, wiring.image, image_);
    }
    for (const std::string& name : wiring.features) {
        bind(graph, name, *features_.at(name));
    }
    for (const std::string& name : wiring.others) {
        bind(graph, name, graph.inputs.emplace(name, Buffer(bytes(graph, name))).first->second);
    }
    graph.outputs.reserve(wiring.outputs.size());  // `features_` points at its elements
    for (const std::string& name : wiring.outputs) {
        graph.outputs.emplace_back(bytes(graph, name));
        bind(graph, name, graph.outputs.back());
        if (!wiring.answers) {
            features_[name] = &graph.outputs.back();
        }
    }
}

const Buffer& GraphExecutor::input(std::size_t stage, const std::string& name) const {
    return graphs_.at(stage).inputs.at(name);
}

bool GraphExecutor::run(std::size_t stage, Ticket* frame) {
    Graph& graph = graphs_.at(stage);
    const std::string& image = graph.wiring.image;
    Work* const work = frame == nullptr ? nullptr : static_cast<Work*>(frame->payload().get());
    try {
        if (work != nullptr && graph.prepare) {
            graph.prepare(stage, work->shared_from_this());
        }
        if (!image.empty()) {
            bind(graph, image, work == nullptr ? image_ : work->image);
        }
        run_graph(graph);
        if (work != nullptr && graph.wiring.answers) {  // the next run of the graph overwrites them
            std::vector<Buffer>& outputs = work->outputs.at(stage);
            for (const Buffer& output : graph.outputs) {
                std::memcpy(outputs.emplace_back(output.bytes()).data(), output.data(), output.bytes());
            }
        }
        return true;
    } catch (const std::exception& problem) {
        if (work != nullptr) {
            work->errors.at(stage) = problem.what();
        }
        return false;
    }
}

void GraphExecutor::bind(const Graph& graph, const std::string& name, const Buffer& memory) const {
    if (memory.bytes() != bytes(graph, name)) {
        throw std::runtime_error("tensor " + name + " has another size than what is bound to it");
    }
    Message error{};
    if (api_->bind(graph.engine, name.c_str(), memory.data(), error.data(), error.size()) == 0) {
        throw std::runtime_error(error.data());
    }
}

void GraphExecutor::run_graph(const Graph& graph) const {
    Message error{};
    if (api_->run(graph.engine, error.data(), error.size()) == 0) {
        throw std::runtime_error(error.data());
    }
}

std::size_t GraphExecutor::bytes(const Graph& graph, const std::string& name) const {
    const std::size_t bytes = api_->bytes(graph.engine, name.c_str());
    if (bytes == 0) {
        throw std::runtime_error("the graph has no tensor " + name);
    }
    return bytes;
}

}  // namespace argus
