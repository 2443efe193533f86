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

Graph::Graph(const ArgusEngineApi* api, const std::string& file, const Settings& settings) : api_(api) {
    std::vector<const char*> pairs;
    for (const auto& [name, value] : settings) {
        pairs.push_back(name.c_str());
        pairs.push_back(value.c_str());
    }
    Message error{};
    engine_ = api->open(file.c_str(), pairs.data(), settings.size(), error.data(), error.size());
    if (engine_ == nullptr) {
        throw std::runtime_error(error.data());
    }
}

std::size_t Graph::bytes(const std::string& name) const {
    const std::size_t bytes = api_->bytes(engine_, name.c_str());
    if (bytes == 0) {
        throw std::runtime_error("the graph has no tensor " + name);
    }
    return bytes;
}

void Graph::bind(const std::string& name, const Buffer& memory) const {
    if (memory.bytes() != bytes(name)) {
        throw std::runtime_error("tensor " + name + " has another size than what is bound to it");
    }
    Message error{};
    if (api_->bind(engine_, name.c_str(), memory.data(), error.data(), error.size()) == 0) {
        throw std::runtime_error(error.data());
    }
}

void Graph::run() const {
    Message error{};
    if (api_->run(engine_, error.data(), error.size()) == 0) {
        throw std::runtime_error(error.data());
    }
}

void GraphExecutor::add(std::shared_ptr<const Graph> graph, const Wiring& wiring) {
    Stage stage{std::move(graph), wiring, {}, {}, {}};
    if (!wiring.image.empty()) {
        stage.graph->bind(wiring.image, image_);
    }
    for (const std::string& name : wiring.features) {
        stage.graph->bind(name, *features_.at(name));
    }
    for (const std::string& name : wiring.others) {
        stage.graph->bind(name, stage.inputs.emplace(name, stage.graph->bytes(name)).first->second);
    }
    for (const std::string& name : wiring.outputs) {
        stage.outputs.emplace_back(stage.graph->bytes(name));
        stage.graph->bind(name, stage.outputs.back());
    }
    stages_.push_back(std::move(stage));
    if (!wiring.answers) {
        for (std::size_t i = 0; i < wiring.outputs.size(); ++i) {  // they stay where they are from now on
            features_[wiring.outputs[i]] = &stages_.back().outputs[i];
        }
    }
}

const Buffer& GraphExecutor::input(std::size_t stage, const std::string& name) const {
    return stages_.at(stage).inputs.at(name);
}

bool GraphExecutor::run(std::size_t index, Ticket* frame) {
    const Stage& stage = stages_.at(index);
    const std::string& image = stage.wiring.image;
    Work* const work = frame == nullptr ? nullptr : static_cast<Work*>(frame->payload().get());
    try {
        if (work != nullptr && stage.prepare) {
            stage.prepare(index, work->shared_from_this());
        }
        if (!image.empty()) {
            stage.graph->bind(image, work == nullptr ? image_ : work->image);
        }
        stage.graph->run();
        if (work != nullptr && stage.wiring.answers) {  // the next run of the graph overwrites them
            std::vector<Buffer>& outputs = work->outputs.at(index);
            for (const Buffer& output : stage.outputs) {
                std::memcpy(outputs.emplace_back(output.bytes()).data(), output.data(), output.bytes());
            }
        }
        return true;
    } catch (const std::exception& problem) {
        if (work != nullptr) {
            work->errors.at(index) = problem.what();
        }
        return false;
    }
}

}  // namespace argus
