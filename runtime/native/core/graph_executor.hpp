#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine_api.h"
#include "pipeline.hpp"

namespace argus {

/// Memory that engines read and write without a copy.
class Buffer {
  public:
    using Release = void (*)(void* memory);

    /// The host's, all zeros.
    explicit Buffer(std::size_t bytes);
    /// An engine's, which may lie on a device.
    Buffer(void* begin, std::size_t bytes, Release release);

    std::uint8_t* data() const { return begin_.get(); }
    std::size_t bytes() const { return bytes_; }

  private:
    using Memory = std::unique_ptr<std::uint8_t, std::function<void(void* memory)>>;

    std::size_t bytes_;
    Memory begin_;
};

/// One frame's way through the graphs: its image going in, each stage's answers coming out.
struct Work : std::enable_shared_from_this<Work> {
    Work(std::size_t image_bytes, std::size_t stages, std::uint64_t number)
        : tag(number), image(image_bytes), outputs(stages), errors(stages) {}

    std::uint64_t tag;  // by which whoever made it knows it
    Buffer image;
    std::vector<std::vector<Buffer>> outputs;  // by stage; empty until it has run
    std::vector<std::string> errors;           // by stage; empty where it has not failed
};

/// An engine's library, loaded for good. Throws std::runtime_error when it is none, or one of another
/// version.
const ArgusEngineApi* load_engine_api(const std::string& file);

/// A graph that an engine has loaded.
class Graph {
  public:
    using Settings = std::vector<std::pair<std::string, std::string>>;

    /// Several may be loaded at once, each by a thread of its own. Throws std::runtime_error.
    Graph(const ArgusEngineApi* api, const std::string& file, const Settings& settings);
    ~Graph() { api_->close(engine_); }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    /// Of an input or output, all of it. Throws std::runtime_error when there is none of that name.
    std::size_t bytes(const std::string& name) const;

    /// Memory for what graphs of this engine hand to one another. Throws std::runtime_error.
    Buffer allocate(std::size_t bytes) const;

    /// Have an input read from, or an output written to, memory of its size: the host's, or `allocate`d.
    /// Throws std::runtime_error.
    void bind(const std::string& name, std::uint8_t* memory, std::size_t size, bool on_host = true) const;

    /// Throws std::runtime_error.
    void run() const;

  private:
    const ArgusEngineApi* api_;
    ArgusEngine* engine_;
};

/// Where a graph's tensors, named, come from and go to.
struct Wiring {
    std::string image;                  // input that is the frame's image; empty: none
    std::vector<std::string> features;  // inputs that an earlier stage gives under the same name
    std::vector<std::string> others;    // inputs that are filled from outside
    std::vector<std::string> outputs;
    bool answers = false;  // outputs go with the frame, instead of staying for other stages to read
};

/// Runs the graphs of a package on an engine that needs no interpreter, wired without copies: a decoder reads
/// the features where the backbone wrote them, those of each frame in its place.
class GraphExecutor : public Executor {
  public:
    /// Called before a stage runs: prepares what it reads besides features. Throws when that fails.
    using Prepare = std::function<void(std::size_t stage, std::shared_ptr<Work> work)>;

    /// `most`: frames that any stage runs on at once.
    explicit GraphExecutor(std::size_t image_bytes, std::size_t most = 1)
        : most_(most), images_(image_bytes * most) {}

    /// Wire the graph of the next stage. Throws std::runtime_error.
    void add(std::shared_ptr<const Graph> graph, const Wiring& wiring);

    /// Wire the graph with which a stage runs on several frames at once; what it reads is an image, or
    /// features. Throws std::runtime_error, and std::out_of_range for a stage that there is not.
    void add_batch(std::size_t stage, std::size_t frames, std::shared_ptr<const Graph> graph);

    /// Have a stage prepared before each run on one frame.
    void set_prepare(std::size_t stage, Prepare prepare) { stages_.at(stage).prepare = std::move(prepare); }

    /// Memory of an input that is filled from outside. Throws std::out_of_range.
    const Buffer& input(std::size_t stage, const std::string& name) const;

    std::size_t stages() const { return stages_.size(); }

    bool run(std::size_t index, const Frames& frames, std::size_t first) override;

  private:
    struct Batch {
        std::shared_ptr<const Graph> graph;
        std::vector<Buffer> answers;
    };

    struct Stage {
        Wiring wiring;
        Prepare prepare;
        std::map<std::string, Buffer> inputs;  // filled from outside
        std::map<std::size_t, Batch> batches;  // by the number of frames
    };

    void wire(Stage& stage, std::size_t frames, std::shared_ptr<const Graph> graph);
    void bind_inputs(const Stage& stage, const Graph& graph, std::uint8_t* images, std::size_t first,
                     std::size_t frames) const;
    std::uint8_t* images_of(const Frames& frames) const;

    std::size_t most_;
    Buffer images_;  // of several frames at once; what a run without a frame sees
    std::vector<Stage> stages_;
    std::map<std::string, Buffer> features_;  // by name; of as many frames as run at once
};

}  // namespace argus
