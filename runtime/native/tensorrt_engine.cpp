// TensorRT as an engine of the core: built engines ("plans"), run without Python.
//
// What graphs hand to one another stays on the device. What is the host's is copied to and from memory of the
// engine on the device, whose addresses stay the same, so that CUDA graphs can be captured.

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/attempt.hpp"
#include "core/engine_api.h"

namespace {

/// Keeps the last error that TensorRT told; its calls themselves only say that they failed.
class Logger : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kERROR) {
            const std::lock_guard<std::mutex> lock(mutex_);
            last_ = message;
        }
    }

    std::string last() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return last_.empty() ? "it does not say why" : last_;
    }

  private:
    std::mutex mutex_;
    std::string last_;
};

/// One for the process: engines hold on to it.
Logger& logger() {
    static Logger* const logger = new Logger();
    return *logger;
}

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) {
        throw std::runtime_error(std::string("CUDA: ") + what + " failed: " + cudaGetErrorString(status));
    }
}

void check(bool succeeded, const std::string& what) {
    if (!succeeded) {
        throw std::runtime_error("TensorRT " + what + ": " + logger().last());
    }
}

struct FreeOnDevice {
    void operator()(void* memory) const { cudaFree(memory); }
};
using DeviceMemory = std::unique_ptr<void, FreeOnDevice>;

DeviceMemory device_memory(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "cudaMalloc");
    return DeviceMemory(memory);
}

std::size_t size_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kINT64:
            return 8;
        case nvinfer1::DataType::kFLOAT:
        case nvinfer1::DataType::kINT32:
            return 4;
        case nvinfer1::DataType::kHALF:
        case nvinfer1::DataType::kBF16:
            return 2;
        case nvinfer1::DataType::kINT8:
        case nvinfer1::DataType::kUINT8:
        case nvinfer1::DataType::kBOOL:
        case nvinfer1::DataType::kFP8:
            return 1;
        default:
            throw std::runtime_error("a tensor at the boundary has a type of less than a byte");
    }
}

std::size_t bytes_of(const nvinfer1::ICudaEngine& engine, const char* name) {
    const nvinfer1::Dims shape = engine.getTensorShape(name);
    std::size_t bytes = size_of(engine.getTensorDataType(name));
    for (int axis = 0; axis < shape.nbDims; ++axis) {
        if (shape.d[axis] < 1) {
            throw std::runtime_error(std::string("tensor ") + name + " has no fixed shape");
        }
        bytes *= static_cast<std::size_t>(shape.d[axis]);
    }
    return bytes;
}

/// An input or output: where its values are on the device and, where it is the host's, there.
struct Tensor {
    std::size_t bytes = 0;
    bool is_input = false;
    void* device = nullptr;
    void* host = nullptr;  // NULL where it stays on the device
    DeviceMemory own;      // what `device` is beside `host`
};

std::vector<char> content_of(const char* file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
        throw std::runtime_error("the file cannot be read");
    }
    return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

struct ArgusEngine {
    ArgusEngine(const char* file, bool host_code) {
        const std::vector<char> plan = content_of(file);
        runtime.reset(nvinfer1::createInferRuntime(logger()));
        check(runtime != nullptr, "does not start");
        runtime->setEngineHostCodeAllowed(host_code);
        engine.reset(runtime->deserializeCudaEngine(plan.data(), plan.size()));
        check(engine != nullptr, "does not take the engine");
        context.reset(engine->createExecutionContext());
        check(context != nullptr, "cannot run the engine");
        for (std::int32_t index = 0; index < engine->getNbIOTensors(); ++index) {
            const char* const name = engine->getIOTensorName(index);
            Tensor& tensor = tensors[name];
            tensor.bytes = bytes_of(*engine, name);
            tensor.is_input = engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        }
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    }

    ~ArgusEngine() {
        for (const auto& [addresses, graph] : graphs) {
            if (graph != nullptr) {
                cudaGraphExecDestroy(graph);
            }
        }
        context.reset();
        if (stream != nullptr) {
            cudaStreamDestroy(stream);
        }
    }

    ArgusEngine(const ArgusEngine&) = delete;
    ArgusEngine& operator=(const ArgusEngine&) = delete;

    void bind(const char* name, void* memory, bool on_host) {
        Tensor& tensor = tensors.at(name);
        tensor.host = on_host ? memory : nullptr;
        if (on_host && tensor.own == nullptr) {
            tensor.own = device_memory(tensor.bytes);
        }
        void* const address = on_host ? tensor.own.get() : memory;
        if (address != tensor.device) {
            check(context->setTensorAddress(name, address), std::string("takes no address for ") + name);
            tensor.device = address;
        }
    }

    void run() {
        for (const auto& [name, tensor] : tensors) {
            if (tensor.is_input && tensor.host != nullptr) {
                check(cudaMemcpyAsync(tensor.own.get(), tensor.host, tensor.bytes, cudaMemcpyHostToDevice,
                                      stream),
                      "cudaMemcpyAsync");
            }
        }
        compute();
        for (const auto& [name, tensor] : tensors) {
            if (!tensor.is_input && tensor.host != nullptr) {
                check(cudaMemcpyAsync(tensor.host, tensor.own.get(), tensor.bytes, cudaMemcpyDeviceToHost,
                                      stream),
                      "cudaMemcpyAsync");
            }
        }
        check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }

    /// From the second run on tensors at the same addresses on, as a CUDA graph of its own.
    void compute() {
        std::vector<void*> addresses;
        for (const auto& [name, tensor] : tensors) {
            addresses.push_back(tensor.device);
        }
        const auto known = graphs.find(addresses);
        if (known != graphs.end() && known->second != nullptr) {
            check(cudaGraphLaunch(known->second, stream), "cudaGraphLaunch");
            return;
        }
        check(context->enqueueV3(stream), "failed to run it");
        if (known == graphs.end()) {  // TensorRT asks for a run before a capture, which computes nothing
            graphs.emplace(std::move(addresses), captured());
        }
    }

    /// What a run puts into the stream; NULL where no graph can hold it (an engine that waits for the host).
    cudaGraphExec_t captured() {
        cudaGraph_t recorded = nullptr;
        cudaGraphExec_t graph = nullptr;
        if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess) {
            const bool enqueued = context->enqueueV3(stream);
            if (cudaStreamEndCapture(stream, &recorded) == cudaSuccess && recorded != nullptr) {
                if (!enqueued || cudaGraphInstantiate(&graph, recorded, 0) != cudaSuccess) {
                    graph = nullptr;
                }
                cudaGraphDestroy(recorded);
            }
        }
        cudaGetLastError();  // what failed here is not the next call's failure
        return graph;
    }

    // In the order in which they need one another; the last is freed first.
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::map<std::string, Tensor> tensors;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    cudaStream_t stream = nullptr;
    std::map<std::vector<void*>, cudaGraphExec_t> graphs;  // by the addresses; NULL: it cannot be captured
};

namespace {

using argus::attempt;

// The one setting, HOST_CODE, says that the engine may bring code along, as version-compatible ones do.
ArgusEngine* open(const char* file, const char* const* settings, size_t count, char* error, size_t size) {
    ArgusEngine* engine = nullptr;
    attempt(error, size, [&] {
        bool host_code = false;
        for (size_t pair = 0; pair < count; ++pair) {
            if (std::string(settings[2 * pair]) != "HOST_CODE") {
                throw std::runtime_error(std::string("no such setting: ") + settings[2 * pair]);
            }
            host_code = std::string(settings[2 * pair + 1]) == "1";
        }
        engine = new ArgusEngine(file, host_code);
    });
    return engine;
}

void close(ArgusEngine* engine) { delete engine; }

size_t bytes(ArgusEngine* engine, const char* name) {
    const auto found = engine->tensors.find(name);
    return found == engine->tensors.end() ? 0 : found->second.bytes;
}

void* allocate(size_t bytes, char* error, size_t size) {
    void* memory = nullptr;
    attempt(error, size, [&] { memory = device_memory(bytes).release(); });
    return memory;
}

void release(void* memory) { cudaFree(memory); }

int bind(ArgusEngine* engine, const char* name, void* memory, int on_host, char* error, size_t size) {
    return attempt(error, size, [&] { engine->bind(name, memory, on_host != 0); });
}

int run(ArgusEngine* engine, char* error, size_t size) {
    return attempt(error, size, [&] { engine->run(); });
}

const ArgusEngineApi kApi{ARGUS_ENGINE_API_VERSION, open, close, bytes, allocate, release, bind, run};

}  // namespace

extern "C" __attribute__((visibility("default"))) const ArgusEngineApi* argus_engine_api() { return &kApi; }
