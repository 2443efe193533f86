#include "graph_executor.hpp"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace argus {

namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector

// From this size on, buffers have pages of their own, which the system gives as zeros and takes back at once.
// malloc comes to serve them from its heaps, where what several threads make and free leaves holes for days.
constexpr std::size_t kOwnPages = 1 << 17;

using Message = std::array<char, 512>;

Work& work_of(const std::shared_ptr<Ticket>& frame) { return *static_cast<Work*>(frame->payload().get()); }

}  // namespace

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
    if (bytes < kOwnPages) {
        const std::size_t rounded =
            (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
        void* const memory = std::aligned_alloc(kAlignment, rounded);
        if (memory == nullptr) {
            throw std::bad_alloc();
        }
        begin_ = Memory(static_cast<std::uint8_t*>(std::memset(memory, 0, rounded)), std::free);
        return;
    }
    void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        throw std::bad_alloc();
    }
    begin_ = Memory(static_cast<std::uint8_t*>(pages), [bytes](void* memory) { munmap(memory, bytes); });
}

Buffer::Buffer(void* begin, std::size_t bytes, Release release)
    : bytes_(bytes), begin_(static_cast<std::uint8_t*>(begin), release) {}

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

Buffer Graph::allocate(std::size_t bytes) const {
    Message error{};
    void* const memory = api_->allocate(bytes, error.data(), error.size());
    if (memory == nullptr) {
        throw std::runtime_error(error.data());
    }
    return Buffer(memory, bytes, api_->release);
}

void Graph::bind(const std::string& name, std::uint8_t* memory, std::size_t size, bool on_host) const {
    if (size != bytes(name)) {
        throw std::runtime_error("tensor " + name + " has another size than what is bound to it");
    }
    Message error{};
    if (api_->bind(engine_, name.c_str(), memory, on_host ? 1 : 0, error.data(), error.size()) == 0) {
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
    Stage stage;
    stage.wiring = wiring;
    for (const std::string& name : wiring.others) {
        const Buffer& input = stage.inputs.emplace(name, graph->bytes(name)).first->second;
        graph->bind(name, input.data(), input.bytes());
    }
    wire(stage, 1, std::move(graph));
    stages_.push_back(std::move(stage));
}

void GraphExecutor::add_batch(std::size_t stage, std::size_t frames, std::shared_ptr<const Graph> graph) {
    if (frames > most_) {
        throw std::runtime_error("more frames at once than there is room for");
    }
    wire(stages_.at(stage), frames, std::move(graph));
}

void GraphExecutor::wire(Stage& stage, std::size_t frames, std::shared_ptr<const Graph> graph) {
    Batch batch{std::move(graph), {}};
    bind_inputs(stage, *batch.graph, images_.data(), 0, frames);
    for (const std::string& name : stage.wiring.outputs) {
        const std::size_t size = batch.graph->bytes(name);
        if (stage.wiring.answers) {
            batch.graph->bind(name, batch.answers.emplace_back(size).data(), size);
        } else {
            if (features_.count(name) == 0) {
                features_.emplace(name, batch.graph->allocate(size / frames * most_));
            }
            batch.graph->bind(name, features_.at(name).data(), size, false);
        }
    }
    stage.batches.insert_or_assign(frames, std::move(batch));
}

// Features are read from the places of the frames, which the backbone has filled.
void GraphExecutor::bind_inputs(const Stage& stage, const Graph& graph, std::uint8_t* images,
                                std::size_t first, std::size_t frames) const {
    if (!stage.wiring.image.empty()) {
        graph.bind(stage.wiring.image, images, images_.bytes() / most_ * frames);
    }
    for (const std::string& name : stage.wiring.features) {
        const Buffer& features = features_.at(name);
        const std::size_t size = features.bytes() / most_;
        graph.bind(name, features.data() + first * size, size * frames, false);
    }
}

// The images of frames one after the other; where there is one, in its own memory.
std::uint8_t* GraphExecutor::images_of(const Frames& frames) const {
    const std::size_t size = images_.bytes() / most_;
    for (std::size_t place = 0; place < frames.size(); ++place) {
        const Buffer& image = work_of(frames[place]).image;
        if (image.bytes() != size) {
            throw std::runtime_error("the image has another size than the network's input");
        }
        if (frames.size() == 1) {
            return image.data();
        }
        std::memcpy(images_.data() + place * size, image.data(), size);
    }
    return images_.data();
}

const Buffer& GraphExecutor::input(std::size_t stage, const std::string& name) const {
    return stages_.at(stage).inputs.at(name);
}

bool GraphExecutor::run(std::size_t index, const Frames& frames, std::size_t first) {
    const Stage& stage = stages_.at(index);
    try {
        if (!frames.empty() && stage.prepare) {
            stage.prepare(index, work_of(frames.front()).shared_from_this());
        }
        const std::size_t at_once = std::max<std::size_t>(frames.size(), 1);
        const Batch& batch = stage.batches.at(at_once);
        std::uint8_t* const images = stage.wiring.image.empty() ? nullptr : images_of(frames);
        bind_inputs(stage, *batch.graph, images, first, at_once);
        batch.graph->run();
        for (std::size_t place = 0; place < frames.size(); ++place) {
            std::vector<Buffer>& outputs = work_of(frames[place]).outputs.at(index);
            for (const Buffer& answer : batch.answers) {  // the next run of the graph overwrites them
                const std::size_t size = answer.bytes() / frames.size();
                std::memcpy(outputs.emplace_back(size).data(), answer.data() + place * size, size);
            }
        }
        return true;
    } catch (const std::exception& problem) {
        for (const std::shared_ptr<Ticket>& frame : frames) {
            work_of(frame).errors.at(index) = problem.what();
        }
        return false;
    }
}

}  // namespace argus
