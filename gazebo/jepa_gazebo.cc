// Model plugin of Gazebo Classic: the arm follows joint targets, and one client at a time watches and arranges the scene.
//
// It listens at the Unix socket that its SDF element <socket> names. A line each, numbers in SI units; quaternions x y z w:
//   from the plugin  J time n positions... velocities...     at each hundredth of a simulated second
//                    I time width height bytes               then the bytes of an RGB image
//                    R 1|0 bytes                             then the answer to a request, or why it was refused
//   from the client  T time positions... velocities...       where the joints should be at that time, and how fast they move
//                    list | get NAME | set NAME x y z qx qy qz qw vx vy vz wx wy wz | place positions...
//                    spawn NAME bytes (then SDF) | delete NAME | pause | resume | step COUNT
// Joints are moved by ODE's motors and their links do not fall: setting positions at every step tears the chain apart.
// When the client goes, the arm stays where it is, and the next client may come.
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gazebo/common/Events.hh>
#include <gazebo/common/Plugin.hh>
#include <gazebo/physics/physics.hh>
#include <gazebo/rendering/Camera.hh>
#include <gazebo/sensors/sensors.hh>

namespace gazebo
{
using Values = std::vector<double>;
using Lock = std::lock_guard<std::mutex>;

const double kReportSeconds = 0.01;
const double kGain = 100.0;            // 1/s: a motor's speed for each unit of error
const double kExtrapolateSeconds = 0.05;  // a target older than this no longer moves on
const double kPatienceSeconds = 5.0;   // for Gazebo to add or remove a model
const size_t kMaxBytes = 1 << 20;

struct Target
{
  double time = 0;
  Values positions, velocities;
};

/// One client's socket. Reading belongs to one thread, writing to any.
class Connection
{
public:
  explicit Connection(int _socket) : socket(_socket)
  {
    // A client that no longer reads must not stop the simulation.
    timeval patience{1, 0};
    setsockopt(this->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }

  ~Connection() { close(this->socket); }

  void Send(const std::string &_text)
  {
    Lock lock(this->mutex);
    for (size_t sent = 0; sent < _text.size() && !this->broken;)
    {
      ssize_t count = send(this->socket, _text.data() + sent, _text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0)
      {
        this->broken = true;
        shutdown(this->socket, SHUT_RDWR);
      }
      else
        sent += count;
    }
  }

  bool Line(std::string &_line)
  {
    size_t end;
    while ((end = this->buffer.find('\n')) == std::string::npos)
      if (this->buffer.size() > kMaxBytes || !this->Receive()) return false;
    _line = this->buffer.substr(0, end);
    this->buffer.erase(0, end + 1);
    return true;
  }

  std::string Bytes(size_t _count)
  {
    if (_count > kMaxBytes) throw std::runtime_error("the description is too long");
    while (this->buffer.size() < _count)
      if (!this->Receive()) throw std::runtime_error("the description is cut off");
    std::string bytes = this->buffer.substr(0, _count);
    this->buffer.erase(0, _count);
    return bytes;
  }

private:
  bool Receive()
  {
    char chunk[65536];
    ssize_t count = recv(this->socket, chunk, sizeof chunk, 0);
    if (count > 0) this->buffer.append(chunk, count);
    return count > 0;
  }

  int socket;
  std::mutex mutex;
  std::atomic<bool> broken{false};
  std::string buffer;
};

class JepaGazebo : public ModelPlugin
{
public:
  void Load(physics::ModelPtr _model, sdf::ElementPtr _sdf) override
  {
    this->model = _model;
    this->world = _model->GetWorld();
    this->cameraName = _sdf->Get<std::string>("camera");
    for (auto element = _sdf->GetElement("joint"); element; element = element->GetNextElement("joint"))
    {
      auto joint = _model->GetJoint(element->Get<std::string>());
      if (!joint) throw std::runtime_error("jepa_gazebo: no joint " + element->Get<std::string>());
      this->joints.push_back(joint);
    }
    for (auto &link : _model->GetLinks()) link->SetGravityMode(false);
    Values home;
    std::istringstream numbers(_sdf->Get<std::string>("home"));
    for (double value; numbers >> value;) home.push_back(value);
    this->Place(home);
    this->Listen(_sdf->Get<std::string>("socket"));
    this->update = event::Events::ConnectWorldUpdateBegin([this](const common::UpdateInfo &_info) { this->Step(_info); });
  }

private:
  // --- the simulation's thread ---

  void Step(const common::UpdateInfo &_info)
  {
    double now = _info.simTime.Double();
    Target target;
    {
      Lock lock(this->targetMutex);
      target = this->target;
    }
    double ahead = std::max(0.0, now - target.time);
    bool moves = ahead <= kExtrapolateSeconds;
    ahead = std::min(ahead, kExtrapolateSeconds);
    for (size_t i = 0; i < this->joints.size(); ++i)
    {
      auto &joint = this->joints[i];
      double wanted = target.positions[i] + ahead * target.velocities[i];
      double limit = joint->GetVelocityLimit(0) > 0 ? 1.5 * joint->GetVelocityLimit(0) : 3.0;
      double speed = kGain * (wanted - joint->Position(0)) + (moves ? target.velocities[i] : 0.0);
      joint->SetParam("fmax", 0, joint->GetEffortLimit(0) > 0 ? joint->GetEffortLimit(0) : 100.0);
      joint->SetParam("vel", 0, std::max(-limit, std::min(limit, speed)));
    }
    if (!this->frame) this->WatchCamera();
    if (now - this->reported >= kReportSeconds - 1e-9 || now < this->reported)
    {
      this->reported = now;
      this->Report(now);
    }
  }

  void Report(double _now)
  {
    std::ostringstream line;
    line.precision(12);
    line << "J " << _now << ' ' << this->joints.size();
    for (auto &joint : this->joints) line << ' ' << joint->Position(0);
    for (auto &joint : this->joints) line << ' ' << joint->GetVelocity(0);
    line << '\n';
    this->Send(line.str());
  }

  void WatchCamera()
  {
    auto sensor = sensors::SensorManager::Instance()->GetSensor(this->cameraName);
    auto camera = std::dynamic_pointer_cast<sensors::CameraSensor>(sensor);
    if (!camera || !camera->Camera()) return;
    this->frame = camera->Camera()->ConnectNewImageFrame(
        [this, camera](const unsigned char *_data, unsigned _width, unsigned _height, unsigned _depth, const std::string &) {
          size_t size = size_t(_width) * _height * _depth;
          std::ostringstream head;
          head.precision(12);
          head << "I " << camera->LastMeasurementTime().Double() << ' ' << _width << ' ' << _height << ' ' << size << '\n';
          this->Send(head.str() + std::string(reinterpret_cast<const char *>(_data), size));
        });
  }

  void Send(const std::string &_text)
  {
    std::shared_ptr<Connection> connection;
    {
      Lock lock(this->clientMutex);
      connection = this->client;
    }
    if (connection) connection->Send(_text);
  }

  // --- the client's thread ---

  void Listen(const std::string &_path)
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (_path.size() >= sizeof address.sun_path) throw std::runtime_error("jepa_gazebo: the socket's path is too long");
    _path.copy(address.sun_path, _path.size());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(_path.c_str());
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(listener, 1))
      throw std::runtime_error("jepa_gazebo: cannot listen at " + _path);
    // Gazebo ends with its process, and this thread with it.
    std::thread([this, listener] {
      for (int socket; (socket = accept(listener, nullptr, nullptr)) >= 0;) this->Serve(std::make_shared<Connection>(socket));
    }).detach();
  }

  void Serve(const std::shared_ptr<Connection> &_connection)
  {
    {
      Lock lock(this->clientMutex);
      this->client = _connection;
    }
    for (std::string line; _connection->Line(line);)
    {
      std::istringstream words(line);
      std::string verb;
      words >> verb;
      if (verb == "T")
        this->Take(words);
      else
        this->Answer(*_connection, verb, words);
    }
    {
      Lock lock(this->clientMutex);
      this->client.reset();
    }
    Lock lock(this->targetMutex);
    std::fill(this->target.velocities.begin(), this->target.velocities.end(), 0.0);
  }

  static Values Numbers(std::istream &_words, size_t _count)
  {
    Values values;
    for (double value; _words >> value;)
    {
      if (!std::isfinite(value)) throw std::runtime_error("expected finite numbers");
      values.push_back(value);
    }
    if (values.size() != _count) throw std::runtime_error("expected " + std::to_string(_count) + " numbers, got " + std::to_string(values.size()));
    return values;
  }

  void Take(std::istream &_words)
  {
    size_t count = this->joints.size();
    Values values;
    try
    {
      values = Numbers(_words, 1 + 2 * count);
    }
    catch (const std::runtime_error &error)
    {
      gzerr << "jepa_gazebo: a target was refused: " << error.what() << "\n";
      return;
    }
    Lock lock(this->targetMutex);
    auto first = values.begin() + 1;
    this->target = {values[0], Values(first, first + count), Values(first + count, values.end())};
  }

  void Answer(Connection &_connection, const std::string &_verb, std::istream &_words)
  {
    std::string text;
    bool done = true;
    try
    {
      text = this->Do(_connection, _verb, _words);
    }
    catch (const std::exception &error)
    {
      text = error.what();
      done = false;
    }
    _connection.Send("R " + std::string(done ? "1 " : "0 ") + std::to_string(text.size()) + "\n" + text);
  }

  std::string Do(Connection &_connection, const std::string &_verb, std::istream &_words)
  {
    if (_verb == "list") return this->List();
    if (_verb == "place") return this->Place(Numbers(_words, this->joints.size()));
    if (_verb == "pause" || _verb == "resume")
    {
      this->world->SetPaused(_verb == "pause");
      return "";
    }
    if (_verb == "step")
    {
      if (!this->world->IsPaused()) throw std::runtime_error("expected a paused simulation, it runs: pause it before you step it");
      this->world->Step(unsigned(Numbers(_words, 1)[0]));
      return "";
    }
    std::string name;
    _words >> name;
    if (_verb == "get") return this->Get(this->Find(name));
    if (_verb == "set") return this->Set(this->Find(name), Numbers(_words, 13));
    if (_verb == "delete") return this->Delete(name);
    if (_verb == "spawn") return this->Spawn(name, _connection.Bytes(size_t(Numbers(_words, 1)[0])));
    throw std::runtime_error("unknown request " + _verb);
  }

  std::string List() const
  {
    std::string names;
    for (auto &other : this->world->Models()) names += other->GetName() + "\n";
    return names;
  }

  physics::ModelPtr Find(const std::string &_name) const
  {
    auto found = this->world->ModelByName(_name);
    if (!found) throw std::runtime_error("Gazebo knows no entity " + _name);
    return found;
  }

  std::string Get(const physics::ModelPtr &_entity) const
  {
    auto pose = _entity->WorldPose();
    auto linear = _entity->WorldLinearVel(), angular = _entity->WorldAngularVel();
    std::ostringstream text;
    text.precision(12);
    text << pose.Pos() << ' ' << pose.Rot().X() << ' ' << pose.Rot().Y() << ' ' << pose.Rot().Z() << ' ' << pose.Rot().W()
         << ' ' << linear << ' ' << angular;
    return text.str();
  }

  std::string Set(const physics::ModelPtr &_entity, const Values &_v)
  {
    if (_entity == this->model) throw std::runtime_error("the arm is moved by its joints");
    boost::recursive_mutex::scoped_lock lock(*this->world->Physics()->GetPhysicsUpdateMutex());
    _entity->SetWorldPose({{_v[0], _v[1], _v[2]}, {_v[6], _v[3], _v[4], _v[5]}});
    _entity->SetLinearVel({_v[7], _v[8], _v[9]});
    _entity->SetAngularVel({_v[10], _v[11], _v[12]});
    return "";
  }

  /// Puts the joints somewhere, at rest, and keeps them there.
  std::string Place(const Values &_positions)
  {
    if (_positions.size() != this->joints.size()) throw std::runtime_error("expected a position for each joint");
    boost::recursive_mutex::scoped_lock lock(*this->world->Physics()->GetPhysicsUpdateMutex());
    for (size_t i = 0; i < this->joints.size(); ++i) this->joints[i]->SetPosition(0, _positions[i]);
    this->model->ResetPhysicsStates();
    Lock targetLock(this->targetMutex);
    this->target = {this->world->SimTime().Double(), _positions, Values(_positions.size(), 0.0)};
    return "";
  }

  std::string Spawn(const std::string &_name, const std::string &_sdf)
  {
    if (this->world->ModelByName(_name)) throw std::runtime_error("there is an entity " + _name + " already");
    this->world->InsertModelString(_sdf);
    this->Await([&] { return bool(this->world->ModelByName(_name)); }, "Gazebo did not add " + _name);
    return "";
  }

  std::string Delete(const std::string &_name)
  {
    if (this->Find(_name) == this->model) throw std::runtime_error("the arm cannot be deleted");
    this->world->RemoveModel(_name);
    this->Await([&] { return !this->world->ModelByName(_name); }, "Gazebo did not remove " + _name);
    return "";
  }

  static void Await(const std::function<bool()> &_condition, const std::string &_complaint)
  {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(kPatienceSeconds);
    while (!_condition())
    {
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error(_complaint);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  physics::ModelPtr model;
  physics::WorldPtr world;
  std::vector<physics::JointPtr> joints;
  std::string cameraName;
  event::ConnectionPtr update, frame;
  double reported = -1;
  std::mutex targetMutex, clientMutex;
  Target target;
  std::shared_ptr<Connection> client;
};

GZ_REGISTER_MODEL_PLUGIN(JepaGazebo)
}  // namespace gazebo
